// SPDX-License-Identifier: Apache-2.0
// omniconn-part: yaml
// From the events of yaml-cpp to values: keys, tags, aliases, merge keys and limits are decided here.
#pragma once

#if !__has_include(<yaml-cpp/yaml.h>)
#error "omniconn: yaml-cpp is missing: install libyaml-cpp-dev and link omniconn::yaml (or yaml-cpp)"
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/mark.h>

#include <omniconn/config.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/core/value.hpp>
#include <omniconn/detail/describe.hpp>
#include <omniconn/detail/yaml_scalar.hpp>
#include <omniconn/detail/yaml_text.hpp>
#include <omniconn/runtime/document.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {

/// Ends the parse from inside an event; yaml-cpp passes it on untouched.
struct yaml_stop {
  diagnosis why;
};

/// Builds values from events. Never deeper than `max_depth`, which ends yaml-cpp's recursion too: it announces a map or list before
/// it goes into it.
class yaml_builder final : public YAML::EventHandler {
 public:
  /// What begins at `end` of the text is not the user's.
  yaml_builder(std::string_view text, std::size_t end, std::string_view source, document_limits const& limits)
      : text_(text), end_(end), limits_(limits) {
    out_.source = source;
  }

  document take() { return std::move(out_); }

  diagnosis problem(YAML::Mark const& mark, std::string_view text, error_kind kind = error_kind::malformed) const {
    std::string where = out_.source;
    if (!mark.is_null()) where += ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
    return {kind, where.append(": ").append(text)};
  }

  void OnDocumentStart(YAML::Mark const& mark) override {
    if (documents_++ > 0) stop(mark, "a second document begins here, or a text that belongs to nothing; a configuration is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(YAML::Mark const& mark, YAML::anchor_t anchor) override {
    // Between two commas yaml-cpp sees null, other parsers an error.
    bool const in_list = !open_.empty() && !open_.back().is_map;
    if (in_list && char_at(mark) == ',') stop(mark, "a value is missing before the comma; write null, or remove the comma");
    add(mark, {}, {line_of(mark), {}}, anchor);
  }

  void OnScalar(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor, std::string const& text) override {
    // yaml-cpp 0.7 writes a lone byte for \N and \_, and what is not UTF-8 must not get further.
    for (std::size_t at = 0, size = 0; at < text.size(); at += size)
      if (size = decode_utf8(text, at).size; size == 0) stop(mark, "the escapes \\N and \\_ are not supported; write \\u0085 or \\u00a0");
    if (tag == "?" && text == "<<" && expects_key()) {
      open_.back().merges_next = true;
      set_key(mark, value(text));
      return;
    }
    check_indent(mark, false);
    add(mark, scalar(mark, tag, text), {line_of(mark), {}}, anchor);
  }

  void OnAlias(YAML::Mark const& mark, YAML::anchor_t anchor) override {
    auto const found = anchors_.find(anchor);
    if (found == anchors_.end()) stop(mark, "the alias stands inside what it refers to; write the value itself");
    auto const& kept = found->second;
    charge(mark, kept.nodes, kept.bytes);
    add(mark, kept.item, kept.lines, YAML::NullAnchor, true);
  }

  void OnSequenceStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value style) override {
    check_indent(mark, style == YAML::EmitterStyle::Block);
    begin(mark, tag, "tag:yaml.org,2002:seq", anchor, false);
  }
  void OnSequenceEnd() override {
    frame done = close();
    done.lines.line = line_of(done.mark);
    add(done.mark, value(std::move(done.items)), std::move(done.lines), done.anchor);
  }
  void OnMapStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value style) override {
    check_indent(mark, false);
    begin(mark, tag, "tag:yaml.org,2002:map", anchor, true);
    open_.back().is_block = style == YAML::EmitterStyle::Block;
  }
  void OnMapEnd() override {
    frame done = close();
    check_keys(done);
    if (!done.merges.empty()) merge(done);
    done.lines.line = line_of(done.mark);
    add(done.mark, value(std::move(done.entries)), std::move(done.lines), done.anchor);
  }

 private:
  using keyed_mark = std::pair<std::string, YAML::Mark>;
  struct kept_node {
    value item;
    source_lines lines;
    std::size_t nodes = 0;
    std::size_t bytes = 0;
  };
  struct frame {  // a map or list that is not complete yet
    YAML::Mark mark;
    YAML::anchor_t anchor = YAML::NullAnchor;
    bool is_map = false;
    bool is_block = false;  // a map without braces
    bool has_key = false;
    bool merges_next = false;  // the key was <<
    value key;
    YAML::Mark key_mark;
    value::array items;
    value::map entries;
    source_lines lines;
    std::vector<keyed_mark> keys;
    std::vector<kept_node> merges;
  };

  static constexpr std::string_view bad_key = "a key is missing here, or is a map or a list; keys are texts, numbers or bools";

  [[noreturn]] void stop(YAML::Mark const& mark, std::string_view text, error_kind kind = error_kind::malformed) const {
    throw yaml_stop{problem(mark, text, kind)};
  }

  std::uint32_t line_of(YAML::Mark const& mark) const noexcept {
    bool const known = mark.pos >= 0 && static_cast<std::size_t>(mark.pos) < end_;
    return known ? static_cast<std::uint32_t>(mark.line + 1) : 0;
  }

  char char_at(YAML::Mark const& mark) const noexcept {
    return mark.pos >= 0 && static_cast<std::size_t>(mark.pos) < text_.size() ? text_[static_cast<std::size_t>(mark.pos)] : '\0';
  }
  bool expects_key() const noexcept { return !open_.empty() && open_.back().is_map && !open_.back().has_key; }

  // yaml-cpp takes "key:" and a word below it, not indented, for a value. Only the dashes of a list may stand there.
  void check_indent(YAML::Mark const& mark, bool is_block_list) const {
    if (open_.empty() || !open_.back().is_block || !open_.back().has_key) return;
    frame const& top = open_.back();
    if (mark.line > top.key_mark.line && mark.column <= top.key_mark.column && !is_block_list && !is_explicit_key(top.key_mark))
      stop(mark, "the value of " + in_quotes(top.key.as_string().value_or("a key")) +
                     " is not indented deeper than its key; indent it, or write a colon after this word");
  }

  // "? key", with the value after a colon of its own.
  bool is_explicit_key(YAML::Mark const& key) const noexcept {
    auto const before = text_.substr(0, static_cast<std::size_t>(std::max(key.pos, 0))).find_last_not_of(" \t");
    return before != std::string_view::npos && text_[before] == '?';
  }

  // Every value costs, and every copy that an alias makes: a few hundred bytes could ask for gigabytes otherwise.
  void charge(YAML::Mark const& mark, std::size_t nodes, std::size_t bytes) {
    if (nodes > limits_.max_nodes - nodes_)
      stop(mark,
           "the document holds more than " + std::to_string(limits_.max_nodes) +
               " keys and values, aliases included; raise document_limits::max_nodes",
           error_kind::too_large);
    if (bytes > limits_.max_bytes - copied_bytes_)
      stop(mark, "aliases stand for more than " + std::to_string(limits_.max_bytes) + " bytes; raise document_limits::max_bytes",
           error_kind::too_large);
    nodes_ += nodes;
    copied_bytes_ += bytes;
  }

  value scalar(YAML::Mark const& mark, std::string const& tag, std::string const& text) {
    if (tag == "!" && char_at(mark) == '!') stop_at_tag(mark, tag);  // a lone ! means other things to other parsers
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return value(text);
    bool fits = true;
    value plain = resolve_plain_scalar(text, fits);
    if (!fits) stop(mark, "the integer " + in_quotes(text) + " does not fit 64 bits; put it in quotes if it is a text");
    if (tag == "?" || tag.empty()) return plain;
    value_kind const kind = plain.kind();
    bool const integer = kind == value_kind::int64 || kind == value_kind::uint64;
    if (tag == "tag:yaml.org,2002:null" && kind == value_kind::nil) return plain;
    if (tag == "tag:yaml.org,2002:bool" && kind == value_kind::boolean) return plain;
    if (tag == "tag:yaml.org,2002:int" && integer) return plain;
    if (tag == "tag:yaml.org,2002:float" && (integer || kind == value_kind::float64)) return value(*plain.as_double());
    for (auto const name : {"null", "bool", "int", "float"})
      if (tag == std::string("tag:yaml.org,2002:") + name)
        stop(mark, in_quotes(text) + " is no " + name + "; remove the tag !!" + name + " or correct the value");
    stop_at_tag(mark, tag);
  }

  [[noreturn]] void stop_at_tag(YAML::Mark const& mark, std::string const& tag) const {
    stop(mark, "the tag " + in_quotes(tag) + " is not supported: a configuration holds plain data only; remove the tag",
         error_kind::unsupported);
  }

  void begin(YAML::Mark const& mark, std::string const& tag, std::string_view usual, YAML::anchor_t anchor, bool is_map) {
    if (expects_key()) stop(mark, bad_key);
    if (tag != "?" && tag != "!" && !tag.empty() && tag != usual) stop_at_tag(mark, tag);
    if (open_.size() >= limits_.max_depth)
      stop(mark, "maps and lists are nested more than " + std::to_string(limits_.max_depth) + " deep; raise document_limits::max_depth",
           error_kind::too_large);
    frame& next = open_.emplace_back();
    next.mark = mark;
    next.anchor = anchor;
    next.is_map = is_map;
  }
  frame close() {
    frame done = std::move(open_.back());
    open_.pop_back();
    return done;
  }

  void set_key(YAML::Mark const& mark, value key) {
    frame& top = open_.back();
    top.keys.emplace_back(identity(key), mark);
    top.key = std::move(key);
    top.key_mark = mark;
    top.has_key = true;
  }

  void add(YAML::Mark const& mark, value item, source_lines lines, YAML::anchor_t anchor, bool is_alias = false) {
    if (!is_alias) charge(mark, 1, 0);
    if (anchor != YAML::NullAnchor) keep(mark, item, lines, anchor);
    if (open_.empty()) {
      out_.root = std::move(item);
      out_.lines = std::move(lines);
      return;
    }
    frame& top = open_.back();
    if (!top.is_map) {
      top.items.push_back(std::move(item));
      top.lines.children.push_back(std::move(lines));
    } else if (!top.has_key) {
      if (item.is_map() || item.is_array() || item.is_nil()) stop(mark, bad_key);
      set_key(mark, std::move(item));
    } else if (top.merges_next) {
      collect_merge(mark, std::move(item), std::move(lines));
      top.merges_next = top.has_key = false;
    } else {
      lines.line = line_of(top.key_mark);
      top.entries.emplace_back(std::move(top.key), std::move(item));
      top.lines.children.push_back(std::move(lines));
      top.has_key = false;
    }
  }

  void keep(YAML::Mark const& mark, value const& item, source_lines const& lines, YAML::anchor_t anchor) {
    kept_node kept;
    weigh(item, kept.nodes, kept.bytes);
    charge(mark, kept.nodes, kept.bytes);  // it is a copy as well
    kept.item = item;
    kept.lines = lines;
    anchors_.insert_or_assign(anchor, std::move(kept));
  }
  static void weigh(value const& item, std::size_t& nodes, std::size_t& bytes) {
    ++nodes;
    if (auto const* const text = item.if_string()) bytes += text->size();
    if (auto const* const items = item.if_array())
      for (auto const& inner : *items) weigh(inner, nodes, bytes);
    if (auto const* const entries = item.if_map())
      for (auto const& [key, inner] : *entries) {
        weigh(key, nodes, bytes);
        weigh(inner, nodes, bytes);
      }
  }

  // A kind and a text: the same for equal keys only.
  static std::string identity(value const& key) {
    auto const* const text = key.if_string();
    return std::to_string(static_cast<int>(key.kind())) + ":" + (text != nullptr ? *text : describe(key));
  }

  void check_keys(frame& done) const {
    auto& keys = done.keys;
    std::stable_sort(keys.begin(), keys.end(), [](keyed_mark const& a, keyed_mark const& b) { return a.first < b.first; });
    auto const twice =
        std::adjacent_find(keys.begin(), keys.end(), [](keyed_mark const& a, keyed_mark const& b) { return a.first == b.first; });
    if (twice == keys.end()) return;
    auto const key = std::string_view(twice->first).substr(twice->first.find(':') + 1);
    stop((twice + 1)->second,
         "the key " + in_quotes(key) + " stands twice in one map, first in line " + std::to_string(line_of(twice->second)) + "; keep one");
  }

  // <<: a map or a list of maps whose entries the map has unless it has its own.
  void collect_merge(YAML::Mark const& mark, value item, source_lines lines) {
    constexpr std::string_view mend = "<< takes an alias of a map or a list of such aliases";
    auto& merges = open_.back().merges;
    if (item.is_map()) {
      merges.push_back({std::move(item), std::move(lines), 0, 0});
    } else if (auto* const items = item.if_array()) {
      for (std::size_t i = items->size(); i-- > 0;) {  // the first one wins, so it is applied last
        if (!(*items)[i].is_map()) stop(mark, mend);
        merges.push_back({std::move((*items)[i]), std::move(lines.children[i]), 0, 0});
      }
    } else {
      stop(mark, mend);
    }
  }
  // Python's order: merged entries first, the map's own replace them where they stand.
  static void merge(frame& done) {
    value::map entries;
    std::vector<source_lines> children;
    std::map<std::string, std::size_t> places;
    auto const put = [&](value::entry& from, source_lines& lines) {
      auto const [place, fresh] = places.emplace(identity(from.first), entries.size());
      if (fresh) {
        entries.push_back(std::move(from));
        children.push_back(std::move(lines));
      } else {
        entries[place->second] = std::move(from);
        children[place->second] = std::move(lines);
      }
    };
    for (auto& from : done.merges)
      for (std::size_t i = 0; i < from.item.size(); ++i) put((*from.item.if_map())[i], from.lines.children[i]);
    for (std::size_t i = 0; i < done.entries.size(); ++i) put(done.entries[i], done.lines.children[i]);
    done.entries = std::move(entries);
    done.lines.children = std::move(children);
  }

  std::string_view text_;
  std::size_t end_;
  document_limits const& limits_;
  document out_;
  int documents_ = 0;
  std::size_t nodes_ = 0;
  std::size_t copied_bytes_ = 0;
  std::vector<frame> open_;
  std::map<YAML::anchor_t, kept_node> anchors_;
};

}  // namespace detail

OMNICONN_END_NAMESPACE

// SPDX-License-Identifier: Apache-2.0
// The one file that knows the command line library.
#include "arguments.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include <CLI/CLI.hpp>

#include <omniconn/runtime/connector_spec.hpp>
#include <omniconn/version.hpp>

#include "commands.hpp"
#include "edges.hpp"
#include "exit_codes.hpp"
#include "files.hpp"
#include "payload.hpp"

namespace tool {

namespace {

int report(outcome const& done) {
  if (done) return exit_success;
  note("error: " + std::string(to_string(done.error().kind())) + ": " + one_line(done.error().detail()) + "\n");
  return exit_code(done.error().kind());
}

std::string check_seconds(std::string const& text) {
  double seconds = 0;
  if (!CLI::detail::lexical_cast(text, seconds) || !(seconds >= 0) || std::isinf(seconds)) return "a number of seconds from 0 on is wanted, not '" + text + "'";
  return {};
}

std::string check_setting(std::string const& text) {
  std::size_t const sign = text.find('=');
  return sign == std::string::npos || sign == 0 ? "key=value is wanted, not '" + text + "'" : std::string();
}

/// Sizes with units, read as a configuration reads them.
std::uint64_t size_of_text(std::string const& text) {
  auto const number = [&]() -> value {
    std::uint64_t n = 0;
    if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos && CLI::detail::lexical_cast(text, n)) return n;
    return text;
  }();
  value const options = value::object({{"size", number}});
  omniconn::option_reader reader(options, {}, [](char const*) -> char const* { return nullptr; });
  auto const size = reader.take_bytes_size("size");
  if (auto const ok = reader.done(); !ok) throw CLI::ValidationError("--sizes", ok.error().detail());
  return *size;
}

/// The words between commas.
std::vector<std::string> split(char const* option, std::string const& text) {
  std::vector<std::string> out{""};
  for (char const c : text) {
    if (c == ',') {
      out.emplace_back();
    } else {
      out.back().push_back(c);
    }
  }
  for (auto const& word : out)
    if (word.empty()) throw CLI::ValidationError(option, "'" + text + "' has an empty place in its list");
  return out;
}

void add_edge(CLI::App& app, edge_options& o, bool keyed, std::string* key) {
  auto* const which = app.add_option_group("connector", "Which connector");
  auto* const config = which->add_option("--config", o.config, "Configuration file (YAML or JSON)")->type_name("FILE");
  which->add_option("--connector", o.connector, "Name of a connector")->type_name("NAME");
  which->require_option(1);
  app.add_option("--set", o.settings, "An option of the connector, as often as wanted; the value is YAML")
      ->type_name("KEY=VALUE")
      ->check(check_setting)
      ->expected(1)
      ->take_all()
      ->excludes(config);
  app.add_option("--from", o.from, "Stage that sends")->type_name("STAGE")->required();
  app.add_option("--to", o.to, "Stage that receives")->type_name("STAGE")->required();
  if (keyed) app.add_option("--key", *key, "Key of the object")->type_name("KEY")->required();
}

/// Each option once, and no key of --set twice.
void check_edge(edge_options const& o) {
  std::vector<std::string> keys;
  for (auto const& setting : o.settings) keys.push_back(setting.substr(0, setting.find('=')));
  std::sort(keys.begin(), keys.end());
  if (auto const twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end()) throw CLI::ValidationError("--set", *twice + " is set twice");
}

std::string completion_of(CLI::App const& app) {
  std::string commands, cases;
  for (auto const* command : app.get_subcommands([](CLI::App const* sub) { return !sub->get_group().empty(); })) {
    commands += (commands.empty() ? "" : " ") + command->get_name();
    std::string words;
    std::function<void(CLI::App const*)> const collect = [&](CLI::App const* from) {
      for (auto const* option : from->get_options())
        for (auto const& name : option->get_lnames()) words += (words.empty() ? "--" : " --") + name;
      for (auto const* group : from->get_subcommands([](CLI::App const* sub) { return sub->get_name().empty(); })) collect(group);
    };
    collect(command);
    cases += "    " + command->get_name() + ") words='" + words + "' ;;\n";
  }
  std::string names;
  for (auto const& one : known_connectors())
    if (one.available) names += (names.empty() ? "" : " ") + one.name;
  return "# bash completion of omniconn; for this shell: source <(omniconn completion)\n"
         "_omniconn() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} words=''\n"
         "  if [ \"${COMP_WORDS[COMP_CWORD-1]}\" = --connector ]; then\n"
         "    COMPREPLY=($(compgen -W '" + names + "' -- \"$word\"))\n"
         "    return\n"
         "  fi\n"
         "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
         "    COMPREPLY=($(compgen -W '" + commands + " --help --version' -- \"$word\"))\n"
         "    return\n"
         "  fi\n"
         "  case ${COMP_WORDS[1]} in\n" + cases +
         "  esac\n"
         "  case $word in\n"
         "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
         "  esac\n"
         "}\n"
         "complete -o filenames -F _omniconn omniconn\n";
}

/// All commands with all their options; `chosen` is the one that was given.
class command_line {
 public:
  command_line() {
    app_.name("omniconn");
    app_.set_version_flag("--version", "omniconn " + std::to_string(OMNICONN_VERSION_MAJOR) + "." + std::to_string(OMNICONN_VERSION_MINOR) + "." + std::to_string(OMNICONN_VERSION_PATCH));
    app_.require_subcommand(1);
    app_.footer("Exit codes: 0; 2 usage; then one per error kind, as docs/tool.md lists them.");
    add_objects();
    add_configuration();
    add_payloads();
    add_looking();
    add_tidying();
    add_bench();
    auto& completion = add("completion", "Prints a script that completes commands and options in bash");
    completion.callback([this] { chosen_ = [this] { return print(completion_of(app_)); }; });
  }

  outcome parse_and_run(int argc, char** argv) {
    // Said first: that a command is missing would be true, too, but no help.
    if (argc > 1 && argv[1][0] != '-' && app_.get_subcommands([&](CLI::App const* sub) { return sub->get_name() == argv[1]; }).empty()) throw CLI::ExtrasError("omniconn", {argv[1]});
    app_.parse(argc, argv);
    return chosen_();
  }
  [[nodiscard]] CLI::App& app() noexcept { return app_; }

 private:
  CLI::App& add(char const* name, char const* text) { return *app_.add_subcommand(name, text); }

  template <class Command, class Check>
  void choose(CLI::App& app, Command& command, Check check) {
    app.callback([this, &command, check] {
      check(command);
      chosen_ = [&command] { return run(command); };
    });
  }
  template <class Command>
  void choose(CLI::App& app, Command& command) {
    choose(app, command, [](Command const&) {});
  }

  void add_objects() {
    auto& put = add("put", "Puts an object; prints its receipt as one line of JSON");
    add_edge(put, put_.where, true, &put_.key);
    put.add_option("--in", put_.in, "Payload; stdin where it is missing or -")->type_name("FILE");
    put.add_flag("--object", put_.object, "The payload is msgpack; checked before anything is sent");
    put.add_option("--readers", readers_, "Names of all who may read it")->type_name("NAME,NAME");
    put.add_option("--timeout", put_.timeout, "How long the put may take, where a service answers later")->type_name("SECONDS")->check(check_seconds);
    put.add_option("--keep", put_.keep, "How long the object stays at least")->type_name("SECONDS")->check(check_seconds);
    choose(put, put_, [this](put_command& o) {
      check_edge(o.where);
      if (readers_) o.readers = split("--readers", *readers_);
    });

    auto& get = add("get", "Waits for an object, takes it and writes its payload");
    add_edge(get, get_.where, true, &get_.key);
    get.add_option("--out", get_.out, "Where to; stdout where it is missing or -")->type_name("FILE");
    get.add_flag("--object", get_.object, "The payload is msgpack; checked before it is taken");
    get.add_option("--reader", get_.reader, "Who reads; else the stage of --to")->type_name("NAME");
    get.add_option("--timeout", get_.timeout, "How long to wait; 0: one look (default: 10)")->type_name("SECONDS")->check(check_seconds);
    get.add_option("--metadata", get_.metadata, "Receipt of the put, or {key: receipt}")->type_name("JSON");
    choose(get, get_, [](get_command const& o) { check_edge(o.where); });

    auto& cleanup = add("cleanup", "Drops an object; prints how many were dropped");
    add_edge(cleanup, cleanup_.where, true, &cleanup_.key);
    cleanup.add_flag("--request", cleanup_.request, "The key is a request: drops its objects on all edges of the connector");
    choose(cleanup, cleanup_, [](cleanup_command const& o) { check_edge(o.where); });
  }

  void add_configuration() {
    auto& config = add("config", "Prints the connectors of a configuration file as JSON");
    config.add_option("file", config_.file, "YAML or JSON")->type_name("FILE")->required();
    config.add_option("--stage", config_.stage, "Only what this stage opens, as it opens it")->type_name("ID");
    choose(config, config_);

    auto& connectors = add("connectors", "Lists all connectors, and why some are not available");
    connectors.add_flag("--json", connectors_.json, "As JSON");
    choose(connectors, connectors_);
  }

  void add_payloads() {
    auto& decode = add("decode", "Prints a msgpack payload readably");
    decode.add_option("file", decode_.in, "Payload; stdin where it is missing or -")->type_name("FILE");
    decode.add_flag("--json", decode_.json, "As JSON that encode reads");
    choose(decode, decode_);

    auto& encode = add("encode", "Makes a msgpack payload of JSON");
    encode.add_option("file", encode_.in, "JSON; stdin where it is missing or -")->type_name("FILE");
    encode.add_option("--out", encode_.out, "Where to; stdout where it is missing or -")->type_name("FILE");
    encode.add_flag("--tensors", encode_.tensors, "Tensors may list their elements");
    choose(encode, encode_);
  }

  void add_looking() {
    auto& ls = add("ls", "Lists the objects in shared memory");
    ls.add_option("--namespace", ls_.space, "Only this namespace of our layout")->type_name("NAME");
    ls.add_option("--directory", ls_.directory, "Where the files lie")->type_name("FOLDER");
    ls.add_flag("--json", ls_.json, "As JSON");
    choose(ls, ls_);

    auto& stat = add("stat", "Shows who uses shared memory, or everything about one object");
    stat.add_option("key", stat_.key, "Key of an object")->type_name("KEY");
    stat.add_option("--namespace", stat_.space, "Only this namespace of our layout")->type_name("NAME");
    stat.add_option("--directory", stat_.directory, "Where the files lie")->type_name("FOLDER");
    stat.add_flag("--json", stat_.json, "As JSON");
    choose(stat, stat_);
  }

  void add_tidying() {
    auto& gc = add("gc", "Removes from shared memory what the dead left");
    auto* const space = gc.add_option("--namespace", gc_.space, "Which namespace of our layout; else OMNICONN_NAMESPACE, else default")->type_name("NAME");
    gc.add_flag("--all", gc_.all, "Every namespace of this user, and upstream's layout")->excludes(space);
    gc.add_option("--directory", gc_.directory, "Where the files lie")->type_name("FOLDER");
    gc.add_flag("--rebuild", gc_.rebuild, "Also removes a directory that is damaged, unless a process uses it; the next open makes it anew");
    gc.add_flag("--dry-run", gc_.dry_run, "Only says what it would do");
    gc.add_flag("--json", gc_.json, "As JSON");
    choose(gc, gc_);

    auto& doctor = add("doctor", "Says what is wrong with this host for shared memory, and how to mend it");
    doctor.add_option("--directory", doctor_.directory, "Where the files lie, or will lie")->type_name("FOLDER");
    doctor.add_flag("--json", doctor_.json, "As JSON");
    choose(doctor, doctor_);
  }

  void add_bench() {
    auto& bench = add("bench", "Measures an edge between this and a second process");
    add_edge(bench, bench_.where, false, nullptr);
    bench.add_option("--sizes", sizes_, "Sizes of objects (default: 4KiB,1MiB,64MiB)")->type_name("SIZE,SIZE");
    bench.add_option("--count", bench_.count, "Objects of each size (default: 256 MiB of them, 10 to 2000)")->type_name("N")->check(CLI::Range(1, 10000000));
    bench.add_option("--timeout", bench_.timeout, "How long one object may take (default: 10)")->type_name("SECONDS")->check(check_seconds);
    bench.add_flag("--json", bench_.json, "As JSON");
    choose(bench, bench_, [this](bench_command& o) {
      check_edge(o.where);
      for (auto const& text : split("--sizes", sizes_)) o.sizes.push_back(size_of_text(text));
    });

    auto& reader = add("bench-reader", "The second process of bench");
    reader.group("");
    add_edge(reader, reader_.where, false, nullptr);
    reader.add_option("--run", reader_.run, "Name of the run")->required();
    reader.add_option("--timeout", reader_.timeout, "How long one object may take")->check(check_seconds);
    choose(reader, reader_);
  }

  CLI::App app_{"Puts, gets and looks at objects on the edges of a pipeline"};
  std::function<outcome()> chosen_;
  put_command put_;
  get_command get_;
  cleanup_command cleanup_;
  config_command config_;
  connectors_command connectors_;
  decode_command decode_;
  encode_command encode_;
  ls_command ls_;
  stat_command stat_;
  gc_command gc_;
  doctor_command doctor_;
  bench_command bench_;
  bench_reader_command reader_;
  std::optional<std::string> readers_;
  std::string sizes_ = "4KiB,1MiB,64MiB";
};

int parse_and_run(command_line& line, int argc, char** argv) {
  try {
    return report(line.parse_and_run(argc, argv));
  } catch (CLI::CallForHelp const&) {
    return report(print(line.app().help()));
  } catch (CLI::CallForVersion const&) {
    return report(print(line.app().version() + "\n"));
  } catch (CLI::ParseError const& wrong) {
    note("error: usage: " + one_line(wrong.what()) + "\nsee omniconn --help, and omniconn COMMAND --help\n");
    return exit_usage;
  }
}

}  // namespace

int run_command_line(int argc, char** argv) {
  try {
    command_line line;
    return parse_and_run(line, argc, argv);
  } catch (std::bad_alloc const&) {
    return report(diagnosis(error_kind::no_space, "memory ran out"));
  } catch (std::exception const& failure) {
    return report(diagnosis(error_kind::io, failure.what()));
  }
}

}  // namespace tool

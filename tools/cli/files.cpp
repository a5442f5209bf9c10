// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omniconn/detail/describe.hpp>

namespace tool {

namespace {

using omniconn::detail::kind_of_errno;
using omniconn::detail::unique_fd;

std::string quoted(std::string const& path) { return omniconn::detail::in_quotes(path, 256); }

diagnosis failure(std::string const& what, int code) { return {kind_of_errno(code), what + ": " + errno_text(code), code}; }

outcome write_all(int fd, const_bytes bytes, std::string const& name) {
  while (!bytes.empty()) {
    ssize_t const done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failure("writing to " + name + " failed", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

bool is_stream(std::string const& path) { return path.empty() || path == "-"; }

}  // namespace

std::string errno_text(int code) {
  char text[128] = "";
  return ::strerror_r(code, text, sizeof text);
}

void guard_standard_streams() {
  // The wrong direction on purpose: a read from a closed stdin and a write to a closed stdout must fail, not vanish.
  constexpr int flags[]{O_WRONLY, O_RDONLY, O_RDWR};
  for (int fd = 0; fd != 3; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF && ::open("/dev/null", flags[fd]) < 0) ::_exit(25);
}

void note(std::string_view text) noexcept { [[maybe_unused]] auto const ignored = ::write(2, text.data(), text.size()); }

outcome print(const_bytes bytes) { return write_all(1, bytes, "stdout"); }
outcome print(std::string_view text) { return print(omniconn::bytes_of(text)); }

result<std::vector<std::byte>, diagnosis> read_input(std::string const& path) {
  unique_fd file;
  std::string const name = is_stream(path) ? "stdin" : quoted(path);
  std::size_t expected = 0;
  if (!is_stream(path)) {
    file = unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) {
      int const code = errno;
      if (code == ENOTDIR) return diagnosis(error_kind::not_found, "opening " + name + " failed: " + errno_text(code), code);
      return failure("opening " + name + " failed", code);
    }
    struct stat about {};
    if (::fstat(file.get(), &about) != 0) return failure("reading " + name + " failed", errno);
    if (S_ISDIR(about.st_mode)) return failure("reading " + name + " failed", EISDIR);
    if (S_ISREG(about.st_mode)) expected = static_cast<std::size_t>(about.st_size);
  }
  int const fd = file ? file.get() : 0;
  std::vector<std::byte> out;
  try {
    std::size_t used = 0;
    out.resize(expected + 1);  // one more, so that the end is seen without growing
    for (;;) {
      if (used == out.size()) out.resize(out.size() < 32768 ? 65536 : out.size() * 2);
      ssize_t const got = ::read(fd, out.data() + used, out.size() - used);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failure("reading " + name + " failed", errno);
      if (got == 0) break;
      used += static_cast<std::size_t>(got);
    }
    out.resize(used);
    return out;
  } catch (std::bad_alloc const&) {
    return diagnosis(error_kind::no_space, name + " does not fit into memory");
  } catch (std::length_error const&) {
    return diagnosis(error_kind::no_space, name + " does not fit into memory");
  }
}

result<output, diagnosis> output::open(std::string const& path) {
  output out;
  out.shown_ = is_stream(path) ? "stdout" : quoted(path);
  if (is_stream(path)) return out;

  struct stat about {};
  bool const there = ::stat(path.c_str(), &about) == 0;
  if (there && S_ISDIR(about.st_mode)) return failure("writing to " + out.shown_ + " failed", EISDIR);
  if (there && !S_ISREG(about.st_mode)) {
    out.file_ = unique_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    if (!out.file_) return failure("opening " + out.shown_ + " failed", errno);
    return out;
  }
  if (there && ::access(path.c_str(), W_OK) != 0) return failure("writing to " + out.shown_ + " failed", errno);

  out.target_ = path;
  if (char* const real = ::realpath(path.c_str(), nullptr)) {  // what a link leads to is replaced, not the link
    out.target_ = real;
    std::free(real);
  }
  std::string temporary = out.target_ + ".XXXXXX";
  out.file_ = unique_fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!out.file_) {
    int const code = errno;
    if (code == ENOTDIR) return diagnosis(error_kind::not_found, "creating " + out.shown_ + " failed: " + errno_text(code), code);
    return failure("creating " + out.shown_ + " failed", code);
  }
  out.temporary_ = std::move(temporary);
  mode_t const mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(out.file_.get(), there ? about.st_mode & 0777U : 0666U & ~mask) != 0) return failure("creating " + out.shown_ + " failed", errno);
  return out;
}

output::output(output&& other) noexcept
    : file_(std::move(other.file_)), shown_(std::move(other.shown_)), target_(std::move(other.target_)), temporary_(std::exchange(other.temporary_, {})) {}

output::~output() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

outcome output::write(const_bytes bytes) { return write_all(file_ ? file_.get() : 1, bytes, shown_); }

outcome output::finish() {
  if (temporary_.empty()) return {};
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return failure("naming " + shown_ + " failed", errno);
  temporary_.clear();
  return {};
}

}  // namespace tool

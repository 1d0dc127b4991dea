#include "sys/standard_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sys/process.h"
#include "sys/system.h"

namespace exo::sys {

void GuardStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is `fd`. Opened the wrong way round, so that its use fails as before.
    [[maybe_unused]] const int placed =
        ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

void IgnoreBrokenPipes() {
  ::signal(SIGPIPE, SIG_IGN);
}

void EndAsBrokenPipe() {
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(SIGPIPE);
  std::_Exit(128 + SIGPIPE);
}

bool IsTerminal(int fd) {
  return ::isatty(fd) == 1;
}

std::optional<unsigned> TerminalColumns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return size.ws_col;
}

Result<void> WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {  // somebody else made it non-blocking
      pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&entry, 1, -1);
    } else if (errno != EINTR) {
      return Fail(ErrorCode::kIo, "{}", std::strerror(errno));
    }
  }
  return {};
}

InputKind StandardInputKind() {
  if (IsTerminal(STDIN_FILENO)) return InputKind::kTerminal;
  struct stat info{};
  if (::fstat(STDIN_FILENO, &info) != 0) return InputKind::kNothing;
  const bool flows = S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode);
  return flows ? InputKind::kFileOrPipe : InputKind::kNothing;
}

Result<std::string> ReadSomeInput() {
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n >= 0) return std::string(buffer, static_cast<size_t>(n));
    if (errno == EINTR) continue;
    if (errno != EAGAIN)
      return Fail(ErrorCode::kIo, "cannot read standard input: {}", std::strerror(errno));
    WaitReadable(STDIN_FILENO, std::chrono::seconds(1));
  }
}

Result<std::string> ReadStandardInput(size_t limit, Time first_byte) {
  if (first_byte > Time(0) && !WaitReadable(STDIN_FILENO, first_byte)) {
    return Fail(ErrorCode::kDisconnected, "nothing came on standard input in {} s",
                std::chrono::duration_cast<std::chrono::seconds>(first_byte).count());
  }
  std::string text;
  for (;;) {
    const std::string more = TRY(ReadSomeInput());
    if (more.empty()) return text;
    text += more;
    if (text.size() > limit) {
      return Fail(ErrorCode::kOverloaded, "standard input is longer than {}", FormatSize(limit));
    }
  }
}

Result<std::string> ReadHiddenLine(std::string_view prompt) {
  termios before{};
  const bool terminal = IsTerminal(STDIN_FILENO) && ::tcgetattr(STDIN_FILENO, &before) == 0;
  int stop_fd = -1;
  if (terminal) {
    stop_fd = TRY(StopSignals());
    (void)WriteAll(STDERR_FILENO, prompt);
    termios hidden = before;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &hidden);
  }
  std::string line;
  bool stopped = false;
  for (char c = 0;;) {
    stopped = terminal && WaitAnyReadable({stop_fd, STDIN_FILENO}) == 0;
    if (stopped || ::read(STDIN_FILENO, &c, 1) <= 0 || c == '\n') break;
    line += c;
  }
  if (terminal) {
    ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
    (void)WriteAll(STDERR_FILENO, "\n");
    ::close(stop_fd);
  }
  if (stopped) return Fail(ErrorCode::kCancelled, "interrupted");
  return line;
}

}  // namespace exo::sys

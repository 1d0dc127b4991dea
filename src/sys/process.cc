#include "sys/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include "base/check.h"
#include "sys/files.h"
#include "sys/system.h"

extern char** environ;

namespace exo::sys {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Only async-signal-safe calls: this runs between fork and exec.
[[noreturn]] void RunChild(char* const* arguments, char* const* environment, const char* output,
                           pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  ::setpgid(
      0, 0);  // Ctrl-C in the terminal reaches the parent alone, which ends its children in order
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int in = ::open("/dev/null", O_RDONLY);
  const int out = ::open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (in < 0 || out < 0) ::_exit(126);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(out, 2);
  ::execve(arguments[0], arguments, environment);
  ::_exit(127);
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::Start(const Options& options) {
  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  // The last setting of a name wins for getenv only when the earlier ones are gone.
  for (const std::string& added : options.environment) {
    const std::string name = added.substr(0, added.find('=') + 1);
    for (size_t i = 0; i + options.environment.size() < environment.size();) {
      if (environment[i].starts_with(name)) {
        environment.erase(environment.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }
  const auto argument_pointers = Pointers(arguments);
  const auto environment_pointers = Pointers(environment);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Fail(ErrorCode::kIo, "cannot start a process: {}", std::strerror(errno));
  if (pid == 0)
    RunChild(argument_pointers.data(), environment_pointers.data(), options.output.c_str(), parent);
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid));
}

ChildProcess::~ChildProcess() {
  Stop(Time(0));
}

bool ChildProcess::Ended() {
  if (!reaped_ && ::waitpid(pid_, nullptr, WNOHANG) == pid_) reaped_ = true;
  return reaped_;
}

void ChildProcess::AskToStop() {
  if (asked_ || Ended()) return;
  ::kill(pid_, SIGTERM);
  asked_ = true;
}

void ChildProcess::Stop(Time patience) {
  if (Ended()) return;
  if (patience > Time(0)) {
    AskToStop();
  } else {
    ::kill(pid_, SIGKILL);
  }
  const Time end = Now() + patience;
  while (!Ended()) {
    if (Now() >= end) ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

Result<void> StartDetached(std::vector<std::string> arguments) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  for (const int fd : {0, 1, 2})
    ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, arguments[0].c_str(), &actions, &attributes,
                                   Pointers(arguments).data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return {};
  return Fail(error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "{} cannot be started: {}",
              arguments[0], std::strerror(error));
}

Result<std::string> OwnPath() {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof(path));
  if (n <= 0)
    return Fail(ErrorCode::kIo, "cannot find the program's own path: {}", std::strerror(errno));
  return std::string(path, static_cast<size_t>(n));
}

Result<int> StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  struct sigaction hangup{};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return Fail(ErrorCode::kIo, "cannot listen for signals: {}", std::strerror(errno));
  return fd;
}

bool TakeSignal(int stop_fd, Time timeout) {
  signalfd_siginfo taken{};
  return WaitReadable(stop_fd, timeout) && ::read(stop_fd, &taken, sizeof(taken)) > 0;
}

bool WaitReadable(int fd, Time timeout) {
  return WaitAnyReadable({fd}, timeout) == 0;
}

int WaitAnyReadable(std::span<const int> fds, Time timeout) {
  std::vector<pollfd> entries;
  for (const int fd : fds) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  ::poll(entries.data(), entries.size(), timeout < Time(0) ? -1 : static_cast<int>(ms));
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].revents != 0) return static_cast<int>(i);
  }
  return -1;
}

Result<void> BecomeProgram(const std::vector<std::string>& arguments,
                           const std::vector<std::pair<std::string, std::string>>& variables) {
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<std::string> words = arguments;
  const auto pointers = Pointers(words);
  ::execvp(pointers[0], pointers.data());
  if (errno == ENOENT) {
    return Fail(ErrorCode::kNotFound, "there is no program {} on $PATH; install it, and try again",
                arguments[0]);
  }
  return Fail(ErrorCode::kIo, "cannot start {}: {}", arguments[0], std::strerror(errno));
}

int64_t ProcessId() {
  return ::getpid();
}

bool ProcessExists(int64_t pid) {
  return pid > 0 && (::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
}

uint64_t ProcessStart(int64_t pid) {
  const auto text = ReadPlainFile(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return 0;
  // Its name may have spaces and parentheses; the start is the 20th field behind it (proc(5)).
  std::istringstream fields(text->substr(text->rfind(')') + 1));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;
  uint64_t ticks = 0;
  std::from_chars(field.data(), field.data() + field.size(), ticks);
  return ticks;
}

WakeFd::WakeFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK_GE(fd_, 0);
}
WakeFd::~WakeFd() {
  ::close(fd_);
}

void WakeFd::Notify() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd_, &one, sizeof(one));
}

void WakeFd::Drain() {
  uint64_t count;
  [[maybe_unused]] const ssize_t n = ::read(fd_, &count, sizeof(count));
}

}  // namespace exo::sys

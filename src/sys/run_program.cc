#include "sys/run_program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/process.h"
#include "sys/system.h"

extern char** environ;

namespace exo::sys {
namespace {

constexpr size_t kMaxOutput = 1 << 20;

// Both ends of a pipe; each is closed at the latest when this goes.
struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) == 0) read = ends[0], write = ends[1];
  }
  ~Pipe() {
    if (read >= 0) ::close(read);
    CloseWrite();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void CloseWrite() {
    if (write >= 0) ::close(write);
    write = -1;
  }
};

// Standard output and error go to `output`. An errno of the spawn, 0 when the program runs.
int Spawn(const std::vector<std::string>& arguments, int output, pid_t& pid) {
  std::vector<char*> pointers;
  for (const std::string& text : arguments) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  ::posix_spawn_file_actions_adddup2(&actions, output, 2);
  const int error = ::posix_spawnp(&pid, pointers[0], &actions, nullptr, pointers.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

// All that comes until everybody has closed the pipe. False: too much, or too late.
bool ReadAll(int fd, Time patience, std::string& output) {
  const Time end = Now() + patience;
  char chunk[4096];
  while (output.size() <= kMaxOutput) {
    if (!WaitReadable(fd, std::max(Time(0), end - Now()))) return false;
    const ssize_t n = ::read(fd, chunk, sizeof(chunk));
    if (n == 0) return true;
    if (n > 0) output.append(chunk, static_cast<size_t>(n));
    if (n < 0 && errno != EINTR) return false;
  }
  return false;
}

}  // namespace

Result<ProgramEnd> RunProgram(const std::vector<std::string>& arguments, Time patience) {
  Pipe pipe;
  if (pipe.write < 0) return Fail(ErrorCode::kIo, "cannot make a pipe: {}", std::strerror(errno));
  pid_t pid = 0;
  if (const int error = Spawn(arguments, pipe.write, pid); error != 0) {
    return Fail(error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot run {}: {}",
                arguments[0], std::strerror(error));
  }
  pipe.CloseWrite();
  ProgramEnd end;
  const bool whole = ReadAll(pipe.read, patience, end.output);
  if (!whole) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!whole) {
    return Fail(ErrorCode::kIo, "{} was ended: it took more than {} s or wrote more than {} bytes",
                arguments[0], std::chrono::duration<double>(patience).count(), kMaxOutput);
  }
  end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

}  // namespace exo::sys

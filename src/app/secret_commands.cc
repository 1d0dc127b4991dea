#include "app/secret_commands.h"

#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <iostream>

#include "app/data_folder.h"
#include "net/secret.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// A line from the terminal without showing it; from a pipe as it comes.
std::string ReadHidden(const char* prompt) {
  termios before{};
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    fmt::print(stderr, "{}", prompt);
    termios hidden = before;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &hidden);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) {
    ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
    fmt::print(stderr, "\n");
  }
  return line;
}

}  // namespace

Result<void> RunSecret(const SecretOptions& options) {
  if (options.make_new) {
    fmt::print("{}\n", net::ClusterSecret::Create()->Text());
    return {};
  }
  TRY(sys::MakeFolders(sys::DataFolder()));
  fmt::print("{}\n", TRY(net::ClusterSecret::LoadOrCreate(sys::DataFolder()))->Text());
  return {};
}

Result<void> RunJoin(const SecretOptions& options) {
  // A running node would go on with the old secret.
  const auto lock = TRY(LockDataFolder(sys::DataFolder()));
  const std::string text = options.file.empty()
                               ? ReadHidden("secret of the cluster (exo secret shows it there): ")
                               : TRY(sys::ReadFile(options.file, 4096));
  TRY(net::ClusterSecret::Replace(sys::DataFolder(), text));
  fmt::print("joined; start this device with: exo up\n");
  return {};
}

}  // namespace exo::app

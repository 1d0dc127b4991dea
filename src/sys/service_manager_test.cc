#include "sys/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "sys/temporary_folder.h"

namespace exo::sys {
namespace {

// The socket of a manager, named in NOTIFY_SOCKET.
class Manager {
 public:
  Manager() : folder_(*TemporaryFolder::Create("exo-notify")) {
    const std::string path = folder_->path() + "/notify";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~Manager() {
    ::unsetenv("NOTIFY_SOCKET");
    ::close(socket_);
  }
  std::string Heard() {
    char text[256];
    const ssize_t n = ::recv(socket_, text, sizeof(text), MSG_DONTWAIT);
    return n < 0 ? "" : std::string(text, static_cast<size_t>(n));
  }

 private:
  std::unique_ptr<TemporaryFolder> folder_;
  int socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

TEST(ServiceManagerTest, IsToldWhenTheServiceServesAndWhenItEnds) {
  Manager manager;
  TellServiceReady("API on port 1");
  EXPECT_EQ(manager.Heard(), "READY=1\nSTATUS=API on port 1");
  TellServiceStopping();
  EXPECT_EQ(manager.Heard(), "STOPPING=1");
}

TEST(ServiceManagerTest, NobodyIsToldWithoutOne) {
  ::unsetenv("NOTIFY_SOCKET");
  TellServiceReady("unheard");  // no error, no wait
  TellServiceStopping();
}

TEST(ServiceManagerTest, ItsRuntimeFolderIsKnown) {
  ::unsetenv("RUNTIME_DIRECTORY");
  EXPECT_EQ(ServiceRuntimeFolder(), "");
  ::setenv("RUNTIME_DIRECTORY", "/run/exo", 1);
  EXPECT_EQ(ServiceRuntimeFolder(), "/run/exo");
  ::unsetenv("RUNTIME_DIRECTORY");
}

}  // namespace
}  // namespace exo::sys

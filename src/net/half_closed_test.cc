#include "net/half_closed.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/socket.h"
#include "sys/system.h"

namespace exo::net {
namespace {

// Both ends of a connection to `listen_host`; the client's as a socket of `family`.
struct SocketPair {
  Fd client, server;
};
SocketPair Connect(const std::string& listen_host, const std::string& connect_host) {
  const Fd listener = Listen(listen_host, 0).value();
  const uint16_t port = LocalAddress(listener.get()).port;
  const SocketAddress address = ToSocketAddress({connect_host, port}).value();
  SocketPair ends{.client = Fd(::socket(address.family(), SOCK_STREAM, 0)), .server = {}};
  EXPECT_EQ(::connect(ends.client.get(), address.get(), address.size), 0);
  for (int i = 0; i < 60'000 && !ends.server.valid(); ++i) {
    ends.server = Fd(::accept(listener.get(), nullptr, nullptr));
    if (!ends.server.valid()) ::usleep(1000);
  }
  return ends;
}

bool BecomesFalse(int fd) {
  for (int i = 0; i < 60'000; ++i) {
    if (!PeerSocketIsOpen(fd)) return true;
    ::usleep(1000);
  }
  return false;
}

TEST(HalfClosedTest, TellsAClosedSendingSideFromAClosedSocket) {
  for (const auto& [listen, connect] : std::vector<std::pair<std::string, std::string>>{
           {"127.0.0.1", "127.0.0.1"}, {"127.0.0.1", "::ffff:127.0.0.1"}, {"::1", "::1"}}) {
    SocketPair ends = Connect(listen, connect);
    ASSERT_TRUE(ends.server.valid()) << connect;
    EXPECT_TRUE(PeerSocketIsOpen(ends.server.get())) << connect;
    ASSERT_EQ(::shutdown(ends.client.get(), SHUT_WR), 0);
    char byte = 0;
    ASSERT_EQ(::recv(ends.server.get(), &byte, 1, MSG_WAITALL), 0);
    EXPECT_TRUE(PeerSocketIsOpen(ends.server.get())) << connect;
    ends.client.Close();
    EXPECT_TRUE(BecomesFalse(ends.server.get())) << connect;
  }
}

TEST(HalfClosedTest, ACloseIsOne) {
  SocketPair ends = Connect("127.0.0.1", "127.0.0.1");
  ends.client.Close();
  EXPECT_TRUE(BecomesFalse(ends.server.get()));
}

}  // namespace
}  // namespace exo::net

#include "net/reach.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "net/socket.h"

namespace exo::net {

Result<void> TryConnect(const wire::Address& address, Time patience) {
  const Fd fd = TRY(BeginConnect(address, ""));
  pollfd wait{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
  if (::poll(&wait, 1, static_cast<int>(limit)) == 0)
    return Fail(ErrorCode::kDisconnected, "nothing answers");
  const int error = ConnectError(fd.get());
  if (error != 0) return Fail(ErrorCode::kDisconnected, "{}", std::strerror(error));
  return {};
}

}  // namespace exo::net

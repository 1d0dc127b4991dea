// The io_context behind an EventLoop, for code that needs Asio itself (the HTTP service on Beast).
#pragma once

#include <boost/asio/io_context.hpp>

namespace exo::net {

class EventLoop;

// Thread: as io_context. The loop owns it.
boost::asio::io_context& Context(EventLoop& loop);

}  // namespace exo::net

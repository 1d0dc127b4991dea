// A server of one file on loopback for tests: plain HTTP, one thread, a reply per request that the
// test writes itself. Every connection serves one request.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace exo::fetch {

class TestServer {
 public:
  // request: its head. Returns all bytes of the reply; the connection is closed behind them.
  using Reply = std::function<std::string(const std::string& head)>;

  explicit TestServer(Reply reply) : reply_(std::move(reply)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(fd_, 64), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~TestServer() {
    stop_ = true;
    thread_.join();
    ::close(fd_);
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::string url(const std::string& path = "/m.gguf") const {
    return fmt::format("http://127.0.0.1:{}{}", port_, path);
  }
  // Whether connections stay open behind their reply, until it is false.
  std::atomic<bool> hold = false;
  // Heads of the requests so far.
  std::vector<std::string> heads() {
    const MutexLock lock(mutex_);
    return heads_;
  }

 private:
  void Serve() {
    while (!stop_) {
      pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      std::string head;
      char buffer[4096];
      while (head.find("\r\n\r\n") == std::string::npos) {
        const ssize_t n = ::recv(client, buffer, sizeof(buffer), 0);
        if (n <= 0) break;
        head.append(buffer, static_cast<size_t>(n));
      }
      {
        const MutexLock lock(mutex_);
        heads_.push_back(head);
      }
      std::string reply = reply_(head);
      // Else the client's next request may come on this connection while it is being closed.
      const size_t line = reply.find("\r\n");
      if (!hold && line != std::string::npos) reply.insert(line + 2, "Connection: close\r\n");
      for (size_t at = 0; at < reply.size();) {
        const ssize_t n = ::send(client, reply.data() + at, reply.size() - at, MSG_NOSIGNAL);
        if (n <= 0) break;
        at += static_cast<size_t>(n);
      }
      while (hold && !stop_) ::poll(nullptr, 0, 5);
      ::close(client);
    }
  }

  const Reply reply_;
  int fd_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stop_ = false;
  Mutex mutex_;
  std::vector<std::string> heads_ EXO_GUARDED_BY(mutex_);
  std::thread thread_;
};

// The value of a field of a request's head; empty: none.
inline std::string FieldOf(const std::string& head, const std::string& name) {
  const size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const size_t begin = at + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

struct TestRange {
  uint64_t begin = 0, end = 0;  // end 0: no range was asked for
};
inline TestRange RangeOf(const std::string& head) {
  TestRange range;
  const std::string text = FieldOf(head, "Range");
  if (std::sscanf(text.c_str(), "bytes=%lu-%lu", &range.begin, &range.end) == 2) ++range.end;
  return range;
}

// The part of `data` that a request asks for, with further fields "Name: value\r\n".
inline std::string PartReply(const std::string& head, const std::string& data,
                             const std::string& fields = "") {
  const TestRange range = RangeOf(head);
  if (range.end == 0) {
    return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}\r\n{}", data.size(), fields,
                       data);
  }
  const std::string part = data.substr(range.begin, range.end - range.begin);
  return fmt::format(
      "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {}-{}/{}\r\n"
      "{}\r\n{}",
      part.size(), range.begin, range.begin + part.size() - 1, data.size(), fields, part);
}

}  // namespace exo::fetch

// The command line's side of the local HTTP API: blocking requests to the node on this machine.
// Thread: the command's own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"

namespace exo::app {

// A request on its way, whose answer is read as it comes: for who waits for several at once.
class HttpCall {
 public:
  HttpCall(HttpCall&&) noexcept;
  HttpCall& operator=(HttpCall&&) noexcept;
  ~HttpCall();  // closes the connection: the node stops what it computes for it

  int descriptor() const;  // readable when ReadSome has something to do
  // Reads what there is of the answer; waits where there is nothing. Errors: kDisconnected.
  Result<void> ReadSome();
  bool done() const;        // the answer is complete
  unsigned status() const;  // 0: not known yet
  bool is_stream() const;   // of server-sent events
  std::string& body();      // what has come of it and was not taken out

 private:
  friend class HttpClient;
  struct Impl;
  explicit HttpCall(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One of a stream of server-sent events.
struct ServerEvent {
  std::string id;    // empty: it has none
  std::string name;  // its kind; empty: it has none
  nlohmann::json data;
};

// The message of an answer that is an error, in the shape of any dialect.
std::string ErrorMessageOf(unsigned status, const std::string& body);

// A name as one segment of a path.
std::string EscapedSegment(const std::string& name);

class HttpClient {
 public:
  // `token`: the node's admin token, which goes with the requests that need one; empty: none.
  // `stop_fd`: readable when the user wants to stop (sys::StopSignals); a request then ends with
  // kCancelled at once. -1: none.
  HttpClient(uint16_t port, std::string token, int stop_fd = -1)
      : port_(port), token_(std::move(token)), stop_fd_(stop_fd) {}

  uint16_t port() const { return port_; }

  // The same node, whose requests end with kCancelled when `stop_fd` is readable, and which calls
  // `on_wait` about ten times a second while nothing comes.
  HttpClient Watched(int stop_fd, std::function<void()> on_wait) const {
    HttpClient watched(port_, token_, stop_fd);
    watched.on_wait_ = std::move(on_wait);
    return watched;
  }

  // The JSON body of a 2xx answer; null where it is empty. Errors: kDisconnected when no node
  // listens there; else the API's own message with a code that fits its status.
  Result<nlohmann::json> Get(const std::string& path) const;
  Result<nlohmann::json> Post(const std::string& path, const nlohmann::json& body) const;
  Result<nlohmann::json> Delete(const std::string& path) const;
  // A POST whose answer may be JSON or server-sent events. Errors: kDisconnected.
  Result<HttpCall> Begin(const std::string& path, const std::string& body) const;
  // A server-sent stream: calls on_event with the JSON of each `data:` line until [DONE]; without
  // that the stream's end is kDisconnected.
  Result<void> PostStream(const std::string& path, const nlohmann::json& body,
                          const std::function<void(const nlohmann::json&)>& on_event) const;
  Result<void> GetStream(const std::string& path,
                         const std::function<void(const nlohmann::json&)>& on_event) const;
  // Events with their names, behind the one whose id is `after` (empty: from now on), until
  // `on_event` returns false. Errors: kDisconnected, also when the node ends the stream.
  Result<void> Follow(const std::string& path, const std::string& after,
                      const std::function<bool(const ServerEvent&)>& on_event) const;

 private:
  uint16_t port_;
  std::string token_;
  int stop_fd_;
  std::function<void()> on_wait_;
};

}  // namespace exo::app

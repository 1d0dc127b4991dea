// Every limit of the HTTP service, in one place, with its reason. Tests shorten the times.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace exo::net {
class TlsServer;
}

namespace exo::service {

class Gatekeeper;
class SessionGate;

// What no client needs to change.
inline constexpr size_t kMaxHeaderFields = 100;  // browsers send about 20
inline constexpr size_t kMaxTarget =
    8 * 1024;                             // longer URIs are attacks here: no route takes long ones
inline constexpr int kMaxJsonDepth = 64;  // tool schemas of agents stay below 20
inline constexpr size_t kMaxMessages =
    16'384;  // of a chat, and parts of its contents: 1 ms to free; agents stay below 1,000
inline constexpr size_t kMaxStops = 16;           // OpenAI allows 4
inline constexpr size_t kMaxStopBytes = 256;      // bounds the text that a stream holds back
inline constexpr size_t kMaxModelName = 512;      // longer than any path of a model hub
inline constexpr size_t kReadBuffer = 16 * 1024;  // per connection
inline constexpr size_t kMaxUnparsed =
    64 * 1024;  // bytes that the parser waits with: twice the headers
inline constexpr size_t kMaxReadOnLoop =
    16 * 1024;  // bodies: 0.2 ms of JSON; larger ones are read on the worker
inline constexpr size_t kMaxPipelined = 256 * 1024;  // further requests sent during an answer
inline constexpr size_t kMaxDrained = 32 << 20;      // read and dropped after an early refusal
inline constexpr int kSocketSendBuffer =
    64 * 1024;  // small: so that a slow reader shows in our own queue

struct HttpLimits {
  size_t header_bytes =
      32 * 1024;                 // RFC 9110 names none; nginx has 8 KiB, agents send long cookies
  size_t body_bytes = 8u << 20;  // a prompt of 1 M tokens is near 4 MiB of text
  size_t body_budget = 128u << 20;  // of all connections together: sixteen of the largest
  size_t connections = 4096;        // 2,000 streams and what floods beside them; 64 KiB each
  std::chrono::milliseconds header_time{
      5000};  // slow-loris: from the first byte to the end of headers
  std::chrono::milliseconds body_interval{
      5000};                                   // in each, a body must bring body_bytes_per_interval
  size_t body_bytes_per_interval = 50 * 1024;  // 10 KiB/s: slower than any home network
  std::chrono::milliseconds idle_time{60000};  // keep-alive without a request
  std::chrono::milliseconds drain_time{2000};  // lets a refused client read the refusal
  size_t pause_bytes = 256 * 1024;             // queued for a reader: the answer pauses
  size_t resume_bytes = 64 * 1024;             // and goes on below
  std::chrono::milliseconds stall_time{30000};  // no byte taken for so long: cancelled
  std::chrono::milliseconds ping_time{10000};   // SSE comment in silence: proxies cut at 50-60 s
};

struct HttpOptions {
  uint16_t port = 52415;  // 0: any free one
  bool ipv6 = true;       // [::1] too, where the machine has it
  // With it: TLS, on `address` (a numeric one) instead of loopback, and whoever asks needs a key.
  const net::TlsServer* tls = nullptr;
  std::string address;
  Gatekeeper* gate = nullptr;       // knows the keys; null: there are none
  SessionGate* sessions = nullptr;  // knows the browsers that have signed in; null: none can
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "[::1]"};  // Host header, any port
  std::vector<std::string> origins;  // foreign pages that may ask, e.g. "http://example.test:3000"
  HttpLimits limits;
};

}  // namespace exo::service

// Requests to other people's servers, over libcurl, which nobody outside web.cc sees: certificates
// checked, redirects bounded, no address but a public one where a stranger chose the host, nothing
// waited for without a limit.
//
// Thread: each object belongs to one thread; different ones are independent.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace exo::fetch {

struct WebOptions {
  std::string ca_file = {};  // PEM, in place of the system's; empty: the system's
  Time connect = std::chrono::seconds(15);
  Time stall = std::chrono::seconds(30);  // a transfer without a byte for so long has broken off
};

// Who may be asked. A host that this device's user configured may be anywhere, also behind the
// proxy of the environment (https_proxy, no_proxy); another one that it redirects to must have a
// public address, unless a proxy is asked. One that a client of the API named must have a public
// address, each time that it is connected to (so neither a redirect nor a name server that
// changes its mind leads elsewhere), and is asked without a proxy, whose addresses are not seen.
enum class Reach : uint8_t { kConfigured, kPublicOnly };

struct Target {
  std::string url;
  std::string token = {};  // for the host of `url` alone: redirects to others go without it
  Reach reach = Reach::kPublicOnly;
};

// By name in lower case.
using HeaderFields = std::map<std::string, std::string, std::less<>>;

// One request and its answer.
class Request {
 public:
  Request(const WebOptions& options, const Target& target);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Before it is begun. Bytes [begin, end) of the answer only.
  void SetRange(uint64_t begin, uint64_t end);
  void AddHeader(const std::string& line);
  // Takes the body piece by piece; false ends the transfer.
  void OnBody(std::function<bool(std::span<const std::byte>)> take);

  unsigned status() const;  // of the last answer; 0: none yet
  // Of the last answer that has it, redirects among them; empty: none. `name` in lower case.
  std::string Header(const std::string& name) const;
  HeaderFields Headers() const;  // all of them

 private:
  friend class Transfers;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Requests that run side by side.
class Transfers {
 public:
  Transfers();
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  // `request` must stay until it has ended or is removed.
  void Begin(Request& request);
  void Remove(Request& request);

  struct Ended {
    Request* request;
    // Whether the whole answer came, whatever its status. Errors: kDisconnected (worth another
    // try), kInvalid (address, certificate or redirect that is refused), kCancelled (OnBody).
    Result<void> outcome;
  };
  // Moves what there is to move, and waits for it `patience` at most.
  std::vector<Ended> Run(Time patience);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct Response {
  unsigned status = 0;
  std::string body;
  HeaderFields headers = {};  // of redirects too, where the last answer does not have them
  std::string Header(std::string_view name) const {
    const auto field = headers.find(name);
    return field == headers.end() ? "" : field->second;
  }
};
struct GetOptions {
  std::vector<std::string> headers = {};
  uint64_t begin = 0, end = 0;  // a range; 0, 0: all
  size_t limit = 8u << 20;      // bytes of the body
  const std::atomic<bool>* cancel = nullptr;
  unsigned tries = 3;  // where another may help: a line that breaks, 429, 5xx
};
// A whole answer of any status. Errors: those of Transfers; kCorrupt (longer than the limit);
// kCancelled.
Result<Response> Get(const WebOptions& web, const Target& target, const GetOptions& options);

// The host of a URL, for messages.
std::string HostOf(const std::string& url);

}  // namespace exo::fetch

// Between a connection (bytes) and the routes (meaning): one request and its answer. Nothing of
// Asio or Beast is seen here.
//
// Thread: the event loop. A Handler lives until its answer is written or the client is gone;
// destroying it cancels whatever it waits for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "service/http/access.h"
#include "service/http/error.h"

namespace exo::service {

class BodyLease;

struct HttpRequest {
  std::string method;                       // upper case
  std::string path;                         // as sent, without host and query
  std::string query;                        // as sent, without the '?'
  std::vector<std::string> hosts;           // every Host field, or the host of an absolute target
  std::vector<std::string> origins;         // every Origin field
  std::vector<std::string> authorizations;  // every Authorization field
  std::vector<std::string> api_keys;        // every x-api-key field
  std::vector<std::string> cookies;         // every Cookie field
  std::string fetch_site;                   // Sec-Fetch-Site: whose page a browser asks for
  std::string preflight_method;             // Access-Control-Request-Method
  std::string preflight_headers;            // Access-Control-Request-Headers
  std::string content_type;
  std::vector<std::string> content_encodings;
  std::string accept;  // the kinds of answer that the client takes
  std::string accept_encoding;
  std::string if_none_match;  // the versions of the answer that the client has
  std::string client;         // where the request comes from: its address and program
  Caller caller;              // who asks, by its key
  std::string dialect;        // of the route
  std::string last_event_id;  // where a stream of events is to go on
  std::string mcp_version;    // MCP-Protocol-Version
  std::string mcp_session;    // Mcp-Session-Id
  std::string body;
  std::shared_ptr<BodyLease> lease;  // of the body's memory; kept as long as its contents
  bool has_length = false;           // the header told the body's length or that it comes in chunks
  int version = 11;
  bool keep_alive = true;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  unsigned status = 200;
  std::string body;
  std::string content_type = "application/json";
  Headers headers = {};
};

struct StreamFormat {
  std::string_view content_type;
  std::string_view ping;  // sent in silence, so that no proxy gives up; empty: nothing is
};
inline constexpr StreamFormat kServerSentEvents{"text/event-stream; charset=utf-8",
                                                ": waiting\n\n"};

class Exchange {
 public:
  virtual ~Exchange() = default;
  // Header fields of whatever the answer will be.
  virtual void AddHeaders(Headers headers) = 0;
  // A whole answer.
  virtual void Send(const HttpResponse& response) = 0;
  // A stream: headers at once, then pieces, then the end.
  virtual void StartStream(const StreamFormat& format, const Headers& headers = {}) = 0;
  virtual void Push(std::string_view bytes) = 0;
  // keep_alive false: the connection closes (after an error in mid-stream). Trailers are for who
  // reads them: clients may drop them.
  virtual void EndStream(bool keep_alive, const Headers& trailers = {}) = 0;
};

class Handler {
 public:
  virtual ~Handler() = default;
  // The reader is slow (true) or has caught up (false).
  virtual void SetPaused(bool paused) { (void)paused; }
};

class Router {
 public:
  virtual ~Router() = default;
  // Answers through `exchange`, at once or later; the handler (null when answered) dies before it.
  virtual std::unique_ptr<Handler> Handle(HttpRequest request, Exchange& exchange) = 0;
  // The answer to a request whose body need not be waited for: nobody may send it.
  virtual std::optional<HttpResponse> RefuseHead(HttpRequest head) const = 0;
  // The answer to bytes that are no acceptable request.
  virtual HttpResponse Render(const ApiError& error) const = 0;
};

}  // namespace exo::service

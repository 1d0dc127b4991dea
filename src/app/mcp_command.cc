#include "app/mcp_command.h"

#include <algorithm>
#include <list>
#include <string>
#include <vector>

#include "app/client_commands.h"
#include "app/http_client.h"
#include "app/output.h"
#include "service/http/limits.h"
#include "service/mcp/rpc.h"
#include "sys/process.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

namespace mcp = service::mcp;
using nlohmann::json;

// Of a line: what the node takes as a body.
constexpr size_t kMaxLine = service::HttpLimits{}.body_bytes;
// Messages in work. More are not read before one is answered.
constexpr size_t kMaxCalls = 64;

constexpr int kStandardInput = 0;

class McpBridge {
 public:
  explicit McpBridge(const Settings& settings) : settings_(settings) {}

  Result<void> Run() {
    while (!ended_ || !calls_.empty()) {
      TRY(Step());
      TRY(FlushOutput());
    }
    return {};
  }

 private:
  struct Call {
    json id;  // null: a notification, which nothing answers
    HttpCall http;
    bool answered = false;
  };
  using Calls = std::list<Call>;

  // Waits until something comes, from the client or the node, and handles it.
  Result<void> Step() {
    std::vector<int> descriptors;
    for (const Call& call : calls_) descriptors.push_back(call.http.descriptor());
    const bool reads = !ended_ && calls_.size() < kMaxCalls;
    if (reads) descriptors.push_back(kStandardInput);
    const int ready = sys::WaitAnyReadable(descriptors);
    if (ready < 0) return {};
    if (static_cast<size_t>(ready) == calls_.size()) return ReadInput();
    const auto call = std::next(calls_.begin(), ready);
    // A node that streams without a pause must not keep the client from being heard.
    calls_.splice(calls_.end(), calls_, call);
    ReadAnswer(call);
    return reads && sys::WaitReadable(kStandardInput, Time(0)) ? ReadInput() : Result<void>{};
  }

  Result<void> ReadInput() {
    const std::string more = TRY(sys::ReadSomeInput());
    ended_ = more.empty();
    input_ += ended_ ? "\n" : more;  // the last line may lack its end
    for (size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      std::string line = input_.substr(0, end);
      input_.erase(0, end + 1);
      if (!std::exchange(skips_line_, false)) TakeLine(line);
    }
    if (input_.size() <= kMaxLine) return {};
    if (!std::exchange(skips_line_, true)) {
      WriteMessage(mcp::ErrorMessage(
          {mcp::kInvalidRequest, fmt::format("a message is longer than {} bytes", kMaxLine)}));
    }
    input_.clear();
    return {};
  }

  void TakeLine(const std::string& line) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) return;
    auto message = mcp::ReadMessage(line);
    if (!message) return WriteMessage(mcp::ErrorMessage(message.error()));
    if (message->method == "notifications/cancelled") {
      // Without its connection the node computes no further.
      const json id = message->params.value("requestId", json());
      if (!id.is_null()) std::erase_if(calls_, [&](const Call& call) { return call.id == id; });
      return;
    }
    auto http = Send(line);
    if (http) {
      calls_.push_back({.id = std::move(message->id), .http = *std::move(http)});
    } else if (message->kind == mcp::MessageKind::kRequest) {
      WriteFailure(message->id, http.error().message);
    }
  }

  Result<HttpCall> Send(const std::string& line) const {
    return TRY(OwnNode(settings_)).Begin("/mcp", line);
  }

  void ReadAnswer(Calls::iterator call) {
    const auto read = call->http.ReadSome();
    if (call->http.status() == 200) PassOn(*call);
    if (read && !call->http.done()) return;
    if (!call->id.is_null() && !call->answered) WriteFailure(call->id, WhyUnanswered(*call, read));
    calls_.erase(call);
  }

  static std::string WhyUnanswered(Call& call, const Result<void>& read) {
    if (!read) return read.error().message;
    if (call.http.status() == 200) return "the node ended its answer early";
    return ErrorMessageOf(call.http.status(), call.http.body());
  }

  // Writes the messages that have come whole. The node writes each without line breaks.
  void PassOn(Call& call) {
    std::string& body = call.http.body();
    if (!call.http.is_stream()) {
      if (call.http.done()) WriteAnswer(call, body);
      return;
    }
    for (size_t end = body.find("\n\n"); end != std::string::npos; end = body.find("\n\n")) {
      const std::string_view event = std::string_view(body).substr(0, end);
      constexpr std::string_view kData = "data: ";
      if (const size_t data = event.find(kData); data != std::string_view::npos)
        WriteAnswer(call, event.substr(data + kData.size()));
      body.erase(0, end + 2);
    }
  }

  static void WriteAnswer(Call& call, std::string_view text) {
    const json message = json::parse(text, nullptr, false);
    call.answered = call.answered || (message.is_object() && message.contains("id"));
    if (!message.is_discarded()) WriteMessage(message);
  }

  static void WriteFailure(const json& id, const std::string& why) {
    WriteMessage(mcp::ErrorMessage({mcp::kTransportError, why, id}));
  }
  static void WriteMessage(const json& message) { PrintJson(message); }

  const Settings& settings_;
  Calls calls_;
  std::string input_;        // not a whole line yet
  bool skips_line_ = false;  // the rest of one that is too long
  bool ended_ = false;
};

}  // namespace

Result<void> RunMcp(const Settings& settings) {
  return McpBridge(settings).Run();
}

}  // namespace exo::app

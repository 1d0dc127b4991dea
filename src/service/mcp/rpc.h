// JSON-RPC 2.0 as MCP uses it: one message in a text, and the texts of answers. It knows no
// transport and no method; the node's route reads messages with it, and so does `exo mcp`, which
// carries them between standard streams and the node.
//
// Thread: pure, any.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "service/json.h"

namespace exo::service::mcp {

// Numbers of the specification; from -32000 down they are the server's own.
inline constexpr int kParseError = -32700;
inline constexpr int kInvalidRequest = -32600;
inline constexpr int kMethodNotFound = -32601;
inline constexpr int kInvalidParams = -32602;
inline constexpr int kTransportError = -32000;  // the message did not get to where it is answered

struct RpcError {
  int code = kInvalidRequest;
  std::string message;
  Json id = nullptr;  // of the request; null: not known
};

enum class MessageKind : uint8_t { kRequest, kNotification, kResponse };
struct Message {
  MessageKind kind = MessageKind::kRequest;
  Json id = nullptr;   // a text or a whole number; null: of a notification
  std::string method;  // empty: of a response
  Json params = Json::object();
};

// Errors: kParseError: no JSON; kInvalidRequest: a batch (MCP has none since 2025-06-18), or no
// message, with its id where it has a usable one.
std::expected<Message, RpcError> ReadMessage(std::string_view text);

Json ResultMessage(const Json& id, Json result);
Json ErrorMessage(const RpcError& error);
Json NotificationMessage(const char* method, Json params);

}  // namespace exo::service::mcp

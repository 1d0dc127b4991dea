#include "service/mcp/rpc.h"

#include <gtest/gtest.h>

namespace exo::service::mcp {
namespace {

TEST(RpcTest, TellsRequestsNotificationsAndResponsesApart) {
  const auto request =
      ReadMessage(R"({"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":1}})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->kind, MessageKind::kRequest);
  EXPECT_EQ(request->id, "a");
  EXPECT_EQ(request->method, "ping");
  EXPECT_EQ(request->params["x"], 1);
  const auto notification = ReadMessage(R"({"jsonrpc":"2.0","method":"notifications/x"})");
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->kind, MessageKind::kNotification);
  EXPECT_TRUE(notification->params.empty());
  const auto response = ReadMessage(R"({"jsonrpc":"2.0","id":0,"result":{}})");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->kind, MessageKind::kResponse);
}

TEST(RpcTest, RefusesWhatIsNoMessage) {
  struct Case {
    const char* text;
    int code;
    const char* word;
    Json id = nullptr;
  };
  const std::string long_id =
      R"({"jsonrpc":"2.0","method":"ping","id":")" + std::string(300, 'x') + "\"}";
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  const Case cases[] = {
      {"", kParseError, "not valid JSON"},
      {R"({"jsonrpc":"2.0","id":1,)", kParseError, "not valid JSON"},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", kParseError, "not valid JSON"},
      {R"({"jsonrpc":"2.0","id":1,"id":2,"method":"ping"})", kParseError, "twice"},
      {deep.c_str(), kParseError, "levels"},
      {R"([{"jsonrpc":"2.0","id":1,"method":"ping"}])", kInvalidRequest, "batches"},
      {"[]", kInvalidRequest, "batches"},
      {"3", kInvalidRequest, "object"},
      {R"({"id":1,"method":"ping"})", kInvalidRequest, "jsonrpc", 1},
      {R"({"jsonrpc":"1.0","id":"b","method":"ping"})", kInvalidRequest, "jsonrpc", "b"},
      {R"({"jsonrpc":"2.0","id":1.5,"method":"ping"})", kInvalidRequest, "'id' is 1.5"},
      {R"({"jsonrpc":"2.0","id":null,"method":"ping"})", kInvalidRequest, "'id'"},
      {R"({"jsonrpc":"2.0","id":{},"method":"ping"})", kInvalidRequest, "'id'"},
      {long_id.c_str(), kInvalidRequest, "256"},
      {R"({"jsonrpc":"2.0","id":7})", kInvalidRequest, "method", 7},
      {R"({"jsonrpc":"2.0","id":7,"method":3})", kInvalidRequest, "method", 7},
      {R"({"jsonrpc":"2.0","id":7,"method":"ping","params":[1]})", kInvalidRequest, "params", 7}};
  for (const Case& one : cases) {
    const auto message = ReadMessage(one.text);
    ASSERT_FALSE(message) << one.text;
    EXPECT_EQ(message.error().code, one.code) << one.text;
    EXPECT_TRUE(message.error().message.contains(one.word)) << message.error().message;
    EXPECT_EQ(message.error().id, one.id) << one.text;
  }
}

}  // namespace
}  // namespace exo::service::mcp

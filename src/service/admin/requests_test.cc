// The list of requests, cancelling and traces, over a fake node.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "service/fake_requests.h"
#include "service/harness.h"

namespace exo::service::admin {
namespace {

constexpr const char* kList = "/v1/internal/requests";
const std::string kRunning = std::string(kList) + "/" + FakeRequestId(0x11).Hex();
const std::string kOthers = std::string(kList) + "/" + FakeRequestId(0x22).Hex();

// As a program on this machine without any key.
Answered CallLocally(const TestServer& server, const std::string& method, const std::string& path) {
  return Call(server, method, path, "", "Authorization: Bearer none\r\n");
}

TEST(RequestsTest, ListTellsWhoAsksWhatAndHowFarItIs) {
  TestServer server;
  const Json data = Call(server, "GET", kList).json()["data"];
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data[0], Json({{"id", FakeRequestId(0x11).Hex()},
                           {"model", "tiny"},
                           {"state", "answering"},
                           {"who", ""},
                           {"entry", "kitchen"},
                           {"dialect", "OpenAI"},
                           {"started", 1'700'000'000'000},
                           {"prompt_tokens", 7},
                           {"cached_tokens", 0},
                           {"generated", 2},
                           {"tokens_per_second", 50.0},
                           {"ttft_ms", 12.5},
                           {"devices", {"kitchen", "desk"}}}));
  EXPECT_EQ(data[1]["who"], "phone");
  EXPECT_EQ(data[1]["ended"], 1'600'000'000'250);
  EXPECT_EQ(data[1]["error"], "device desk was lost");
}

TEST(RequestsTest, OthersRequestsAreForAdministrators) {
  TestServer server;
  const Json data = CallLocally(server, "GET", kList).json()["data"];
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0]["id"], FakeRequestId(0x11).Hex());
  for (const char* method : {"GET", "DELETE"}) {
    const std::string path = kOthers + (*method == 'G' ? "/trace" : "");
    EXPECT_EQ(CallLocally(server, method, path).status, 404) << method;
  }
}

TEST(RequestsTest, CancelSaysWhatItDid) {
  TestServer server;
  EXPECT_EQ(CallLocally(server, "DELETE", kRunning).status, 200);
  const auto ended = Call(server, "DELETE", kOthers);
  EXPECT_EQ(ended.status, 409);
  EXPECT_NE(ended.error("message").find("has ended already: failed"), std::string::npos);
  for (const char* id : {"nothing", "%2F", "33333333333333333333333333333333"})
    EXPECT_EQ(Call(server, "DELETE", std::string(kList) + "/" + id).error("code"),
              "request_not_found")
        << id;
}

TEST(RequestsTest, ACanceledRequestIsATypedErrorThatNobodyTriesAgain) {
  TestServer server({}, {.refusal = node::GenerateError{{ErrorCode::kCancelled, "it was canceled"},
                                                        node::Refusal::kCanceled}});
  const auto answer = Post(
      server, kChat, {{"model", "tiny"}, {"messages", {{{"role", "user"}, {"content", "a"}}}}});
  EXPECT_EQ(answer.status, 499);
  EXPECT_EQ(answer.error("code"), "request_canceled");
  EXPECT_FALSE(answer.has("retry-after"));
}

TEST(RequestsTest, EveryDialectNamesTheCall) {
  TestServer server;
  const Json chat = {{{"role", "user"}, {"content", "a"}}};
  const std::map<std::string, std::pair<const char*, Json>> calls = {
      {kChat, {"OpenAI", {{"model", "tiny"}, {"messages", chat}}}},
      {"/v1/completions", {"OpenAI", {{"model", "tiny"}, {"prompt", {"a", "b"}}}}},
      {"/v1/responses", {"OpenAI", {{"model", "tiny"}, {"input", "a"}}}},
      {"/v1/embeddings", {"OpenAI", {{"model", "tiny"}, {"input", "a"}}}},
      {"/v1/messages", {"Anthropic", {{"model", "tiny"}, {"max_tokens", 9}, {"messages", chat}}}},
      {"/api/chat", {"Ollama", {{"model", "tiny"}, {"messages", chat}}}},
      {"/completion", {"llama-server", {{"model", "tiny"}, {"prompt", "a"}}}}};
  std::set<std::string> ids;
  for (const auto& [path, call] : calls) {
    const auto answer = Post(server, path, call.second);
    EXPECT_EQ(answer.status, 200) << path << answer.body;
    const node::Asker asker = server.last_request().asker;
    EXPECT_TRUE(answer.has("x-request-id: " + asker.call.Hex())) << path << answer.headers;
    EXPECT_EQ(asker.dialect, call.first) << path;
    EXPECT_TRUE(ids.insert(asker.call.Hex()).second) << "a name of its own";
  }
}

TEST(TraceTest, HasTheSpansOfTheRequest) {
  TestServer server;
  const Json trace = CallLocally(server, "GET", kRunning + "/trace").json();
  EXPECT_EQ(trace["id"], FakeRequestId(0x11).Hex());
  EXPECT_EQ(trace["dropped"], 3);
  ASSERT_EQ(trace["spans"].size(), 14u);
  EXPECT_EQ(trace["spans"][4], Json({{"name", "wire"},
                                     {"device", "kitchen"},
                                     {"stage", 0},
                                     {"to", "desk"},
                                     {"start_us", 80},
                                     {"duration_us", 10},
                                     {"token", 0},
                                     {"step", 0}}));
  EXPECT_EQ(Call(server, "GET", kOthers + "/trace").error("code"), "trace_not_found");
  const auto bad = Call(server, "GET", kRunning + "/trace?format=pdf");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.error("message"), "'format' is \"pdf\", but must be exo, chrome or otlp");
}

// What Chrome's viewers need: metadata that names processes and threads, complete events with a
// duration, and each asynchronous begin with its end.
TEST(TraceTest, ChromeFormatIsWellFormed) {
  TestServer server;
  const Json trace = Call(server, "GET", kRunning + "/trace?format=chrome").json();
  std::map<int, std::string> processes;
  std::set<std::pair<int, int>> threads;
  std::map<uint64_t, Json> open;
  size_t events = 0;
  for (const Json& event : trace["traceEvents"]) {
    const std::string phase = event["ph"];
    const int process = event["pid"], thread = event["tid"];
    if (phase == "M") {
      if (event["name"] == "process_name") processes[process] = event["args"]["name"];
      if (event["name"] == "thread_name") threads.emplace(process, thread);
      continue;
    }
    EXPECT_TRUE(processes.contains(process) && threads.contains({process, thread})) << event;
    EXPECT_TRUE(event["ts"].is_number_unsigned() && event["cat"].is_string()) << event;
    if (phase == "e") {
      const auto begin = open.extract(event["id"].get<uint64_t>());
      ASSERT_FALSE(begin.empty()) << event;
      EXPECT_EQ(begin.mapped()["name"], event["name"]);
      EXPECT_LE(begin.mapped()["ts"], event["ts"]);
      continue;
    }
    ++events;
    if (phase == "b") {
      EXPECT_TRUE(open.emplace(event["id"].get<uint64_t>(), event).second) << event;
    } else {
      EXPECT_EQ(phase, "X");
      EXPECT_TRUE(event["dur"].is_number_unsigned()) << event;
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(events, 14u);
  EXPECT_EQ(processes, (std::map<int, std::string>{{1, "kitchen"}, {2, "desk"}}));
}

bool IsHex(const Json& text, size_t digits) {
  return text.is_string() && text.get<std::string>().size() == digits &&
         text.get<std::string>().find_first_not_of("0123456789abcdef") == std::string::npos &&
         text.get<std::string>().find_first_not_of('0') != std::string::npos;
}

// The JSON form of OpenTelemetry's ExportTraceServiceRequest.
TEST(TraceTest, OtlpFormatIsWellFormed) {
  TestServer server;
  const Json trace = Call(server, "GET", kRunning + "/trace?format=otlp").json();
  std::map<std::string, Json> spans;
  std::map<std::string, size_t> devices;
  for (const Json& resource : trace["resourceSpans"]) {
    std::string device;
    for (const Json& attribute : resource["resource"]["attributes"])
      if (attribute["key"] == "host.name") device = attribute["value"]["stringValue"];
    for (const Json& span : resource["scopeSpans"][0]["spans"]) {
      EXPECT_EQ(span["traceId"], FakeRequestId(0x11).Hex());
      ASSERT_TRUE(IsHex(span["spanId"], 16)) << span;
      EXPECT_TRUE(spans.emplace(span["spanId"], span).second) << "one id each";
      const std::string start = span["startTimeUnixNano"], end = span["endTimeUnixNano"];
      EXPECT_EQ(start.size(), 19u) << span;
      EXPECT_LE(start, end);
      ++devices[device];
    }
  }
  EXPECT_EQ(devices, (std::map<std::string, size_t>{{"kitchen", 11}, {"desk", 4}}));
  size_t roots = 0;
  std::map<std::string, size_t> below;  // by the name of the parent
  for (const auto& [id, span] : spans) {
    if (!span.contains("parentSpanId")) {
      EXPECT_EQ(span["name"], "request");
      ++roots;
      continue;
    }
    ASSERT_TRUE(spans.contains(span["parentSpanId"])) << span;
    ++below[spans[span["parentSpanId"]]["name"]];
  }
  EXPECT_EQ(roots, 1u);
  EXPECT_EQ(below, (std::map<std::string, size_t>{{"request", 4}, {"prompt", 5}, {"token", 5}}));
  for (const auto& [id, span] : spans)
    for (const Json& attribute : span["attributes"]) {
      const Json& value = attribute["value"];
      EXPECT_TRUE(value.contains("intValue") ? value["intValue"].is_string()
                                             : value["stringValue"].is_string())
          << attribute;
    }
}

}  // namespace
}  // namespace exo::service::admin

#include "app/top_picture.h"

#include <gtest/gtest.h>

namespace exo::app {
namespace {

using nlohmann::json;

TopState Told(const std::vector<ServerEvent>& events) {
  TopState state;
  for (const ServerEvent& event : events) Apply(event, state);
  return state;
}

const json kCluster = {{"nodes",
                        {{{"name", "de\x1bsk"},
                          {"id", "aa"},
                          {"state", "self"},
                          {"memory_budget", 8 << 20},
                          {"memory_reserved", 4 << 20},
                          {"decode_gbps", 12.34},
                          {"health", {{"text", "on battery, 60 %"}}}},
                         {{"name", "nas"}, {"id", "bb"}, {"state", "alive"}, {"rtt_ms", 9.0}}}},
                       {"instances",
                        {{{"model", "tiny"},
                          {"plan_id", "77"},
                          {"state", "ready"},
                          {"active_requests", 1},
                          {"queued_requests", 2},
                          {"predicted_tokens_per_second", 42.0},
                          {"stages", {{{"node", "desk"}}, {{"node", "nas"}}}}}}}};
const json kRequests = {{"data",
                         {{{"id", "0123456789abcdef"},
                           {"model", "tiny"},
                           {"state", "answering"},
                           {"who", "anna"},
                           {"prompt_tokens", 12},
                           {"generated", 34},
                           {"tokens_per_second", 5.67}}}}};
const json kFigures = {{"links", {{{"to", "bb"}, {"rtt_ms", 0.25}}}},
                       {"instances", {{{"plan", "77"}, {"tokens_per_second", 31.0}}}}};

TEST(TopPictureTest, ShowsDevicesModelsAndRequests) {
  const TopState state =
      Told({{"", "cluster", kCluster}, {"", "requests", kRequests}, {"", "telemetry", kFigures}});
  const std::string text = TopText(state, 0);
  for (const char* words : {"de\\x1bsk", "[######......]", "4.0 MiB of 8.0 MiB", "12.3 GB/s",
                            "on battery, 60 %", "desk, nas", "42.0 tokens/s", "31.0 tokens/s",
                            "01234567  tiny", "anna", "5.7 tokens/s", "0.25 ms"})
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  EXPECT_NE(
      TopText(Told({{"", "cluster", {{"nodes", json::array()}}}}), 0).find("no model is running"),
      std::string::npos);
}

TEST(TopPictureTest, ANarrowTerminalGetsWholeColumnsThatMatter) {
  const TopState state =
      Told({{"", "cluster", kCluster}, {"", "requests", kRequests}, {"", "telemetry", kFigures}});
  const std::string at_80 = TopText(state, 80);
  for (const char* words : {"HEALTH", "on battery, 60 %", "4.0 MiB of 8.0 MiB", "0.25 ms"})
    EXPECT_NE(at_80.find(words), std::string::npos) << words << "\n" << at_80;
  EXPECT_EQ(at_80.find("MODELS' MEMORY"), std::string::npos) << at_80;
  const std::string at_45 = TopText(state, 45);
  for (const char* words : {"HEALTH", "on battery, 60 %", "01234567  tiny   answering"})
    EXPECT_NE(at_45.find(words), std::string::npos) << words << "\n" << at_45;
  for (const char* dropped : {"DECODE", "EXPECTED", "anna"})
    EXPECT_EQ(at_45.find(dropped), std::string::npos) << dropped << "\n" << at_45;
}

TEST(TopPictureTest, IsWholeWhenAllThreeStatesWereTold) {
  TopState state = Told({{"7", "resync", {{"sequence", 7}}}, {"", "cluster", kCluster}});
  EXPECT_EQ(state.last_event, "7");
  EXPECT_FALSE(IsWhole(state));
  EXPECT_TRUE(Apply({"", "requests", kRequests}, state));
  EXPECT_FALSE(Apply({"", "pulls", json::array()}, state)) << "not shown";
  EXPECT_FALSE(Apply({"", "cluster", "no object"}, state));
  EXPECT_TRUE(Apply({"", "telemetry", kFigures}, state));
  EXPECT_TRUE(IsWhole(state));
  EXPECT_EQ(TopJson(state)["instances"][0]["model"], "tiny");
  EXPECT_EQ(TopJson(state)["requests"].size(), 1u);
  EXPECT_FALSE(TopJson(state).contains("lost"));
}

TEST(TopPictureTest, TellsTheLastChangesAndThatNothingIsHeard) {
  TopState state = Told({{"", "cluster", kCluster}});
  for (int i = 0; i < 9; ++i) {
    Apply({std::to_string(i),
           "peer",
           {{"name", "n" + std::to_string(i)},
            {"state", "dead"},
            {"detail", "silent since noon"},
            {"time_ms", int64_t{1764162000123}}}},
          state);
  }
  state.lost = "no news: the node is gone";
  const std::string text = TopText(state, 0);
  EXPECT_TRUE(text.starts_with("no news: the node is gone\n")) << text;
  EXPECT_NE(text.find("13:00:00 UTC  n8: lost (silent since noon)\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("n3: lost"), std::string::npos) << "only the newest are kept\n" << text;
  EXPECT_EQ(state.last_event, "8");
  EXPECT_EQ(TopJson(state)["lost"], "no news: the node is gone");
}

}  // namespace
}  // namespace exo::app

#include "app/plan_picture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "app/terminal.h"
#include "base/units.h"

namespace exo::app {
namespace {

using nlohmann::json;

json Device(const std::string& id, const std::string& name, uint64_t available) {
  return {{"id", id}, {"name", name}, {"memory_available", available}, {"memory_budget", 8 * kGiB}};
}

json TwoStages() {
  return {{"model", "m"},
          {"reason", "no node holds the model alone"},
          {"context", 4096},
          {"kv", "f16"},
          {"kv_positions", 16384},
          {"predicted_tokens_per_second", 12.34},
          {"predicted_prompt_per_second", 99.6},
          {"predicted_ttft_ms", 5140},
          {"predicted_prompt_tokens", 512},
          {"users", 1},
          {"stages",
           {{{"node", "desk"},
             {"node_id", "01"},
             {"layer_begin", 0},
             {"layer_end", 8},
             {"bytes", 4 * kGiB},
             {"ms_per_token", 40.0}},
            {{"node", "laptop"},
             {"node_id", "02"},
             {"layer_begin", 8},
             {"layer_end", 16},
             {"bytes", 2 * kGiB},
             {"ms_per_token", 39.5}}}},
          {"hops",
           {{{"from", "01"},
             {"to", "02"},
             {"rtt_ms", 0.4},
             {"rtt_p99_ms", 1.25},
             {"mbps", 940.0},
             {"mbps_back", 430.0}}}},
          {"devices",
           {Device("01", "desk", 8 * kGiB), Device("02", "laptop", 4 * kGiB),
            Device("03", "phone", 8 * kGiB)}},
          {"explanation", {"desk + laptop, layers: 12.3 tokens/s; chosen"}}};
}

size_t Widest(const std::string& text) {
  std::istringstream lines(text);
  size_t widest = 0;
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, Columns(line));
  return widest;
}

TEST(PlanPictureTest, SaysWhatComesFromDisk) {
  json plan = TwoStages();
  plan["stages"][0]["layers_from_disk"] = {1, 3, 5};
  plan["predicted_tokens_per_second"] = 0.087;
  const std::string text = PlanPicture(plan, 80);
  EXPECT_NE(text.find("desk: layers 0-7, 3 of them from disk, input and output\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("laptop: layers 8-15\n"), std::string::npos) << text;
  EXPECT_NE(text.find("predicted: 0.09 tokens/s"), std::string::npos) << text;
}

TEST(PlanPictureTest, DrawsDevicesBarsAndLinks) {
  EXPECT_EQ(PlanPicture(TwoStages(), 80),
            "m: no node holds the model alone\n"
            "\n"
            "desk: layers 0-7, input and output\n"
            "  [####################....................] 4.0 GiB of 8.0 GiB, 40.0 ms a token\n"
            "    |\n"
            "    | 0.40 ms there and back (99 %: 1.25 ms), 940 Mb/s, 430 Mb/s back\n"
            "    v\n"
            "laptop: layers 8-15\n"
            "  [++++++++++++++++++++##########..........] 2.0 GiB of 8.0 GiB, 39.5 ms a token\n"
            "phone: idle\n"
            "  [........................................] 0 B of 8.0 GiB\n"
            "\n"
            "context: 4096 tokens, f16 KV cache for 16384 tokens in all\n"
            "predicted: 12.3 tokens/s, prompts at 100 tokens/s, first token of a prompt of\n"
            "  512 after 5.1 s\n");
}

TEST(PlanPictureTest, DrawsEachReplica) {
  json plan = TwoStages();
  json replica = {{"stages", json::array({plan["stages"][1]})}, {"hops", json::array()}};
  replica["stages"][0]["layer_begin"] = 0;
  plan["stages"].erase(1);
  plan["stages"][0]["layer_end"] = 16;
  plan["hops"] = json::array();
  plan["replicas"] = json::array({replica});
  const std::string picture = PlanPicture(plan, 80);
  EXPECT_NE(picture.find("desk: layers 0-15, input and output\n  [##"), std::string::npos)
      << picture;
  EXPECT_NE(picture.find("laptop: layers 0-15, input and output\n  [++"), std::string::npos)
      << picture;
  EXPECT_EQ(picture.find("laptop: idle"), std::string::npos) << picture;
  EXPECT_NE(picture.find("phone: idle"), std::string::npos) << picture;
}

TEST(PlanPictureTest, KeepsWithinTheLine) {
  const json plan = TwoStages();
  for (size_t columns = kLeastColumns; columns <= 120; ++columns)
    EXPECT_LE(Widest(PlanPicture(plan, columns)), columns) << PlanPicture(plan, columns);
  EXPECT_LE(Widest(PlanPicture(plan, 5)), kLeastColumns);
  EXPECT_EQ(PlanExplanation(plan, 40),
            "\ncompared:\n- desk + laptop, layers: 12.3 tokens/s;\n  chosen\n");
}

TEST(PlanPictureTest, ShardsListTheLinksBetweenAll) {
  json plan = TwoStages();
  plan["users"] = 4;
  plan["predicted_total_per_second"] = 30.0;
  for (size_t i = 0; i < 2; ++i) {
    plan["stages"][i]["layer_begin"] = 0;
    plan["stages"][i]["layer_end"] = 16;
    plan["stages"][i]["kv_heads"] = {4 * i, 4 * i + 4};
    plan["stages"][i]["ffn_columns"] = {4096 * i, 4096 * (i + 1)};
  }
  const std::string text = PlanPicture(plan, 80);
  EXPECT_TRUE(text.contains("laptop: KV heads 4-7, columns 4096-8191 of every layer\n")) << text;
  EXPECT_TRUE(text.contains(
      "  desk - laptop: 0.40 ms there and back (99 %: 1.25 ms), 940 Mb/s, 430 Mb/s back\n"))
      << text;
  EXPECT_TRUE(text.contains("4 answers at once: 30.0 tokens/s in all\n")) << text;
  EXPECT_FALSE(text.contains("    v\n"));
}

TEST(PlanPictureTest, AGroupIsDrawnAsAStage) {
  json plan = TwoStages();
  json board = plan["stages"][1];
  board["node"] = "board";
  board["node_id"] = "4";
  plan["stages"].push_back(board);
  const json hop = {{"rtt_ms", 0.4}, {"mbps", nullptr}, {"mbps_back", nullptr}};
  plan["hops"] = json::array();
  for (const auto& [from, to] : {std::pair(0, 1), std::pair(0, 2), std::pair(1, 2)}) {
    json one = hop;
    one["from"] = plan["stages"][static_cast<size_t>(from)]["node_id"];
    one["to"] = plan["stages"][static_cast<size_t>(to)]["node_id"];
    plan["hops"].push_back(one);
  }
  for (size_t i = 1; i < 3; ++i) {
    plan["stages"][i]["kv_heads"] = {4 * (i - 1), 4 * i};
    plan["stages"][i]["ffn_columns"] = {4096 * (i - 1), 4096 * i};
  }
  const std::string text = PlanPicture(plan, 80);
  EXPECT_TRUE(
      text.contains("    |\n"
                    "    | desk - laptop: 0.40 ms there and back\n"
                    "    | desk - board: 0.40 ms there and back\n"
                    "    v\n"
                    "laptop: KV heads 0-3, columns 0-4095 of layers 8-15\n"))
      << text;
  EXPECT_TRUE(text.contains("board: KV heads 4-7, columns 4096-8191 of layers 8-15\n")) << text;
  EXPECT_TRUE(text.contains("  laptop - board: 0.40 ms there and back\n")) << text;
}

TEST(PlanPictureTest, ShardsOfAMixtureListTheirExperts) {
  json plan = TwoStages();
  for (size_t i = 0; i < 2; ++i) {
    plan["stages"][i]["layer_begin"] = 0;
    plan["stages"][i]["layer_end"] = 16;
    plan["stages"][i]["kv_heads"] = {0, 1};
    plan["stages"][i]["query_heads"] = {3 * i, 3 * i + 3};
    plan["stages"][i]["ffn_columns"] = {0, 0};
    plan["stages"][i]["experts"] = {60 * i, 60 + 4 * i};
  }
  const std::string text = PlanPicture(plan, 80);
  EXPECT_TRUE(text.contains("laptop: KV heads 0, query heads 3-5, experts 60-63 of every layer\n"))
      << text;
  plan["stages"][1]["ffn_columns"] = {0, 512};
  plan["stages"][1]["experts"] = {60, 60};
  EXPECT_TRUE(PlanPicture(plan, 80).contains(
      "laptop: KV heads 0, query heads 3-5, columns 0-511, no experts of every layer\n"))
      << PlanPicture(plan, 80);
}

// Names come from other devices.
TEST(PlanPictureTest, NamesCannotMoveTheCursor) {
  json plan = TwoStages();
  plan["stages"][0]["node"] = plan["devices"][2]["name"] = "a\x1b[2J";
  plan["explanation"] = {"a\x1b[2J alone: 3.0 tokens/s"};
  EXPECT_FALSE(PlanPicture(plan, 80).contains('\x1b'));
  EXPECT_FALSE(PlanExplanation(plan, 80).contains('\x1b'));
}

}  // namespace
}  // namespace exo::app

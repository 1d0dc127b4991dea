#include "app/top_command.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace exo::app {
namespace {

using nlohmann::json;

TEST(TopTest, ShowsDevicesModelsAndRequests) {
  const json cluster = {{"nodes",
                         {{{"name", "de\x1bsk"},
                           {"state", "self"},
                           {"memory_budget", 8 << 20},
                           {"memory_reserved", 4 << 20},
                           {"decode_gbps", 12.34},
                           {"health", {{"text", "on battery, 60 %"}}}}}},
                        {"instances",
                         {{{"model", "tiny"},
                           {"state", "ready"},
                           {"active_requests", 1},
                           {"queued_requests", 2},
                           {"predicted_tokens_per_second", 42.0},
                           {"stages", {{{"node", "desk"}}, {{"node", "nas"}}}}}}}};
  const json requests = {{"data",
                          {{{"id", "0123456789abcdef"},
                            {"model", "tiny"},
                            {"state", "answering"},
                            {"who", "anna"},
                            {"prompt_tokens", 12},
                            {"generated", 34},
                            {"tokens_per_second", 5.67}}}}};
  const std::string text = TopText(cluster, requests, 0);
  for (const char* words :
       {"de\\x1bsk", "[######......]", "4.0 MiB of 8.0 MiB", "12.3 GB/s", "on battery, 60 %",
        "desk, nas", "42.0 tokens/s", "01234567  tiny", "anna", "5.7 tokens/s"})
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  for (const std::string narrow = TopText(cluster, requests, 30);
       const char* gone : {"HEALTH", "anna"})
    EXPECT_EQ(narrow.find(gone), std::string::npos) << narrow;
  EXPECT_NE(TopText({{"nodes", json::array()}}, json(), 0).find("no model is running"),
            std::string::npos);
}

}  // namespace
}  // namespace exo::app

// States for many pages at once, without a server.
#include "service/admin/live_states.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace exo::service::admin {
namespace {

struct Page final : LiveListener {
  void OnStates() override {}
};

Caller WithKey(uint64_t key, Scope scope) {
  return {.key = key, .scopes = Caller::ScopeBit(scope)};
}

// 2,000 pages that see the same cost one text, whoever else listens.
TEST(LiveStatesTest, AStateIsWrittenOutOnceForAllWhoSeeTheSame) {
  boost::asio::io_context context;
  uint64_t version = 1;
  std::vector<Caller> asked;
  LiveStates states(context,
                    {{.event = "mine",
                      .pace = std::chrono::milliseconds(0),
                      .read = [&]() -> LiveState { return {.key = std::to_string(version)}; },
                      .for_caller =
                          [&](const Caller& caller) {
                            asked.push_back(caller);
                            return fmt::format("{} of {}", version, caller.key);
                          }}});
  const std::vector<Caller> callers = {Caller{}, WithKey(7, Scope::kModels),
                                       WithKey(7, Scope::kAdmin), WithKey(8, Scope::kModels)};
  constexpr size_t kPages = 2000;
  std::vector<Page> pages(kPages);
  std::vector<LiveStates::Versions> seen(kPages);
  std::vector<std::unique_ptr<LiveStates::Listening>> listening;
  for (Page& page : pages) listening.push_back(states.Listen(page));
  for (int round = 0; round < 3; ++round, ++version) {
    listening.back() = states.Listen(pages.back());  // looks again
    asked.clear();
    size_t told = 0;
    for (size_t i = 0; i < kPages; ++i) {
      const Caller& caller = callers[i % callers.size()];
      states.Take(caller, seen[i], [&](const std::string& event, const std::string& data) {
        EXPECT_EQ(event, "mine");
        EXPECT_EQ(data, fmt::format("{} of {}", version, caller.key));
        ++told;
      });
    }
    EXPECT_EQ(told, kPages);
    EXPECT_EQ(asked.size(), callers.size()) << "round " << round;
  }
}

}  // namespace
}  // namespace exo::service::admin

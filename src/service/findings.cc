#include "service/findings.h"

#include <string_view>
#include <utility>

namespace exo::service {
namespace {

node::FindingState StateNamed(std::string_view name) {
  using node::FindingState;
  for (const FindingState state :
       {FindingState::kOk, FindingState::kWarning, FindingState::kProblem}) {
    if (name == node::FindingStateName(state)) return state;
  }
  return FindingState::kUnknown;
}

}  // namespace

Json FindingsJson(const std::vector<node::Finding>& findings) {
  Json checks = Json::array();
  for (const node::Finding& one : findings) {
    checks.push_back({{"id", one.id},
                      {"state", node::FindingStateName(one.state)},
                      {"title", one.title},
                      {"detail", one.detail},
                      {"fix", one.fix}});
  }
  return {{"checks", std::move(checks)}};
}

std::vector<node::Finding> FindingsIn(const Json& answer) {
  std::vector<node::Finding> findings;
  for (const Json& check : answer.value("checks", Json::array())) {
    findings.push_back({.id = check.value("id", ""),
                        .state = StateNamed(check.value("state", "")),
                        .title = check.value("title", ""),
                        .detail = check.value("detail", ""),
                        .fix = check.value("fix", "")});
  }
  return findings;
}

}  // namespace exo::service

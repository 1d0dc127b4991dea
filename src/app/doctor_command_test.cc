#include "app/doctor_command.h"

#include <gtest/gtest.h>

namespace exo::app {
namespace {

using node::Finding;
using node::FindingState;

TEST(DoctorTextTest, ShowsWhatIsWrongFirstHandAndCountsTheRest) {
  const std::vector<Finding> findings = {
      {.id = "clock", .title = "the clock is right"},
      {"disk", FindingState::kProblem, "the disk is full", "0 B of 1 GiB are free", "make room"}};
  EXPECT_EQ(DoctorText(findings, false),
            "problem  the disk is full\n"
            "         0 B of 1 GiB are free\n"
            "         -> make room\n"
            "1 further checks are well: exo doctor --all\n");
  EXPECT_NE(DoctorText(findings, true).find("ok       the clock is right\n"), std::string::npos);
  EXPECT_EQ(DoctorText({findings[0]}, false), "everything that exo looks at is well\n");
}

}  // namespace
}  // namespace exo::app

#include "sys/run_program.h"

#include <gtest/gtest.h>

namespace exo::sys {
namespace {

constexpr Time kPatience = std::chrono::seconds(20);

TEST(RunProgramTest, GivesWhatAProgramSaysAndHowItEnds) {
  const auto end = RunProgram({"sh", "-c", "echo one; echo two >&2; exit 3"}, kPatience);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->output, "one\ntwo\n");
  EXPECT_EQ(end->exit_code, 3);
}

TEST(RunProgramTest, SaysWhichSignalEndedIt) {
  const auto end = RunProgram({"sh", "-c", "kill -TERM $$"}, kPatience);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->exit_code, 128 + 15);
}

TEST(RunProgramTest, ReadsNothingOfStandardInput) {
  const auto end = RunProgram({"cat"}, kPatience);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->output, "");
}

TEST(RunProgramTest, NamesAProgramThatIsNotThere) {
  const auto end = RunProgram({"exo-has-no-such-program"}, kPatience);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(end.error().message, "cannot run exo-has-no-such-program: No such file or directory");
}

TEST(RunProgramTest, EndsOneThatTakesTooLong) {
  const auto end = RunProgram({"sleep", "30"}, std::chrono::milliseconds(20));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kIo);
}

TEST(RunProgramTest, EndsOneThatWritesWithoutEnd) {
  const auto end = RunProgram({"yes"}, kPatience);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace exo::sys

#include "node/model_names.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

ModelId Id(uint8_t first) {
  ModelId id;
  id.bytes[0] = first;
  return id;
}

TEST(ModelNamesTest, EachModelHasANameOfItsOwn) {
  ModelNames names;
  names.Add(Id(1), "alone", "a");
  names.Add(Id(1), "alone", "b");  // the same file on two devices
  names.Add(Id(2), "x", "a");
  names.Add(Id(3), "x", "b");
  names.Add(Id(4), "y", "a");
  names.Add(Id(5), "y", "a");  // another device of that name
  EXPECT_EQ(names.Distinct(Id(1), "alone", "a"), "alone");
  EXPECT_EQ(names.Distinct(Id(2), "x", "a"), "x@a");
  EXPECT_EQ(names.Distinct(Id(3), "x", "b"), "x@b");
  EXPECT_EQ(names.Distinct(Id(4), "y", "a"), "y@04000000");
  EXPECT_EQ(names.Distinct(Id(5), "y", "a"), "y@05000000");
  EXPECT_EQ(names.Distinct(Id(6), "alone", ""), "alone@06000000") << "it runs, its file is another";
  EXPECT_EQ(names.Distinct(Id(7), "gone", ""), "gone") << "its file has left";
}

TEST(ModelNamesTest, AFileThatIsNamedLikeAnotherWithItsDeviceIsToldApart) {
  ModelNames names;
  names.Add(Id(1), "x", "a");
  names.Add(Id(2), "x", "b");
  names.Add(Id(3), "x@a", "b");
  EXPECT_EQ(names.Distinct(Id(1), "x", "a"), "x@01000000");
  EXPECT_EQ(names.Distinct(Id(3), "x@a", "b"), "x@a@b");
}

TEST(ModelNamesTest, AModelIsFoundByEachOfItsNames) {
  for (const std::string& asked : {"x", "x@a", "x@07000000"})
    EXPECT_TRUE(IsNameOf(asked, Id(7), "x", "a")) << asked;
  EXPECT_TRUE(IsNameOf(Id(7).Hex(), Id(7), "x", "a"));
  EXPECT_TRUE(IsNameOf(Id(7).Hex(), Id(7), "0", "a"));
  for (const std::string& asked : {"", "x@", "x@b", "x@08000000", "xa", "y"})
    EXPECT_FALSE(IsNameOf(asked, Id(7), "x", "a")) << asked;
}

}  // namespace
}  // namespace exo::node

#include "sys/part_file.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

#include "sys/files.h"
#include "sys/links.h"
#include "sys/temporary_folder.h"

namespace exo::sys {
namespace {

std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(PartFileTest, FillsInAnyOrderAndGetsItsNameAtTheEnd) {
  const auto owner = TemporaryFolder::Create("exo-part-");
  ASSERT_TRUE(owner);
  const TemporaryFolder& folder = **owner;
  const std::string path = folder.path() + "/whole";
  auto part = PartFile::Open(path + ".part");
  ASSERT_TRUE(part) << part.error().message;
  ASSERT_TRUE((*part)->Reserve(6));
  ASSERT_TRUE((*part)->Write(3, BytesOf("def")));
  ASSERT_TRUE((*part)->Write(0, BytesOf("abc")));
  EXPECT_FALSE(Exists(path));
  ASSERT_TRUE((*part)->Commit(path));
  EXPECT_EQ(ReadFile(path).value_or(""), "abcdef");
  EXPECT_FALSE(Exists(path + ".part"));
}

TEST(PartFileTest, StaysForTheNextAndIsFilledByOneAtATime) {
  const auto owner = TemporaryFolder::Create("exo-part-");
  ASSERT_TRUE(owner);
  const TemporaryFolder& folder = **owner;
  const std::string path = folder.path() + "/x.part";
  {
    auto part = PartFile::Open(path);
    ASSERT_TRUE(part && (*part)->Reserve(3) && (*part)->Write(0, BytesOf("abc")));
    const auto other = PartFile::Open(path);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, ErrorCode::kOverloaded);
  }
  auto again = PartFile::Open(path);
  ASSERT_TRUE(again);
  std::byte bytes[3];
  ASSERT_TRUE((*again)->Read(0, bytes));
  EXPECT_EQ(std::string(reinterpret_cast<char*>(bytes), 3), "abc");
  EXPECT_FALSE((*again)->Read(1, bytes)) << "it ends before";
  (*again)->Discard();
  EXPECT_FALSE(Exists(path));
}

TEST(PartFileTest, MoreThanTheDiskHoldsIsRefusedAndTakesNothing) {
  const auto owner = TemporaryFolder::Create("exo-part-");
  ASSERT_TRUE(owner);
  const TemporaryFolder& folder = **owner;
  auto part = PartFile::Open(folder.path() + "/x.part");
  ASSERT_TRUE(part);
  const auto reserved = (*part)->Reserve(uint64_t{1} << 46);
  ASSERT_FALSE(reserved);
  EXPECT_EQ(reserved.error().code, ErrorCode::kIo);
  EXPECT_NE(reserved.error().message.find("are free"), std::string::npos)
      << reserved.error().message;
  EXPECT_EQ((*part)->Size().value_or(1), 0u);
}

TEST(PartFileTest, ALinkInItsPlaceIsNotFollowed) {
  const auto owner = TemporaryFolder::Create("exo-part-");
  ASSERT_TRUE(owner);
  const TemporaryFolder& folder = **owner;
  ASSERT_TRUE(MakeLink("elsewhere", folder.path() + "/x.part"));
  EXPECT_FALSE(PartFile::Open(folder.path() + "/x.part"));
  EXPECT_FALSE(Exists(folder.path() + "/elsewhere"));
  EXPECT_FALSE(PartFile::Open(folder.path()));
}

TEST(LinksTest, ReplaceWhatIsThere) {
  const auto owner = TemporaryFolder::Create("exo-part-");
  ASSERT_TRUE(owner);
  const TemporaryFolder& folder = **owner;
  const std::string link = folder.path() + "/link";
  ASSERT_TRUE(WriteFileAtomically(folder.path() + "/a", "A", 0600));
  ASSERT_TRUE(WriteFileAtomically(folder.path() + "/b", "B", 0600));
  EXPECT_EQ(LinkTarget(link), "");
  ASSERT_TRUE(MakeLink("a", link));
  ASSERT_TRUE(MakeLink("b", link));
  EXPECT_EQ(LinkTarget(link), "b");
  EXPECT_EQ(ReadFile(link).value_or(""), "B");
  EXPECT_FALSE(MakeLink("a", folder.path() + "/missing/link"));
}

}  // namespace
}  // namespace exo::sys

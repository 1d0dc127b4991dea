#include "node/pulled_notes.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

TEST(PulledNotesTest, AreReadAgain) {
  PulledNotes notes;
  notes.Put("hf:a/b", "b", {.links = {"/m/b.gguf"}, .owned = {"/x"}}, 7);
  const auto read = PulledNotes::Parse(notes.Text());
  ASSERT_TRUE(read);
  const PulledNote* note = read->FindByReference("hf:a/b");
  ASSERT_NE(note, nullptr);
  EXPECT_EQ(note->name, "b");
  EXPECT_EQ(note->file.links, std::vector<std::string>{"/m/b.gguf"});
  EXPECT_EQ(note->file.owned, std::vector<std::string>{"/x"});
  EXPECT_EQ(note->used, 7);
  EXPECT_EQ(read->FindByName("b"), note);
  EXPECT_EQ(read->FindByName("c"), nullptr);
  for (const char* text : {"", "{", "[1]", R"([{"references":["x"]}])"})
    EXPECT_FALSE(PulledNotes::Parse(text)) << text;
}

TEST(PulledNotesTest, AModelThatIsPulledAgainKeepsWhatItOwned) {
  PulledNotes notes;
  notes.Put("r", "b", {.links = {"/p"}, .owned = {"/x", "/y"}}, 7);
  notes.Put("r:Q4", "b", {.links = {"/p"}, .owned = {"/y", "/z"}}, 7);
  const PulledNote* note = notes.FindByName("b");
  ASSERT_NE(note, nullptr);
  EXPECT_EQ(note->file.owned, (std::vector<std::string>{"/y", "/z", "/x"}));
  EXPECT_EQ(notes.FindByReference("r"), note);
  EXPECT_EQ(notes.FindByReference("r:Q4"), note);
  EXPECT_TRUE(notes.NoteUse("b", 9));
  EXPECT_EQ(note->used, 9);
  EXPECT_FALSE(notes.NoteUse("c", 9));
  notes.Remove("b");
  EXPECT_EQ(notes.FindByReference("r"), nullptr);
}

// A repository's new version may have other names.
TEST(PulledNotesTest, AReferenceMeansWhatItBroughtLast) {
  PulledNotes notes;
  notes.Put("r", "old", {.links = {"/old"}}, 7);
  notes.Put("r", "new", {.links = {"/new"}}, 7);
  EXPECT_EQ(notes.FindByReference("r")->name, "new");
  EXPECT_NE(notes.FindByName("old"), nullptr);
}

}  // namespace
}  // namespace exo::node

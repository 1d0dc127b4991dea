// The prefix store over a real folder: what survives a restart, and what does not.
#include "store/prefix_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "store/test_folder.h"

namespace exo::store {
namespace {

namespace fs = std::filesystem;
using backend::PageStore;
using backend::PageText;

SealKey KeyNumber(uint8_t number) {
  SealKey key{};
  key[0] = std::byte{number};
  return key;
}

Hash256 Key(uint8_t number) {
  Hash256 key;
  key.bytes[0] = number;
  return key;
}

// A page of layers [2, 6) with 1000 bytes each: a number for each layer, and where it is.
PageStore::SavedPage Page(uint8_t seed, size_t layers = 4, size_t layer_bytes = 1000) {
  PageStore::SavedPage page{.positions = 256};
  for (size_t layer = 0; layer < layers; ++layer) {
    for (size_t i = 0; i < layer_bytes; ++i)
      page.bytes.push_back(static_cast<std::byte>(seed + 16 * layer + i % 7));
  }
  return page;
}

PageStore::PageName Name(uint8_t key, uint32_t begin = 2, uint32_t end = 6, uint32_t index = 0) {
  return {.key = Key(key), .layer_begin = begin, .layer_end = end, .index = index};
}

PageText TextOf(uint8_t key, uint8_t scope = 100) {
  return {.key = Key(key),
          .scope = Key(scope),
          .parent = Key(99),
          .tokens = {key, 70000, -1, 5},
          .index = 3};
}

class PrefixStoreTest : public testing::Test {
 protected:
  void Open(PrefixStoreOptions options = {.budget = 1 << 20, .key = KeyNumber(1)}) {
    store_.reset();
    options.folder = folder();
    auto opened = PrefixStore::Open(std::move(options));
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }
  std::string folder() const { return folder_ / "prefix"; }
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder())) files.push_back(entry.path());
    std::ranges::sort(files);
    return files;
  }
  bool Has(const PageStore::PageName& name, const PageStore::SavedPage& page) {
    const auto loaded = store_->Load(name);
    return loaded && loaded->positions == page.positions && loaded->bytes == page.bytes;
  }
  std::vector<PageText> Texts(uint8_t scope) {
    const auto texts = store_->Texts(Key(scope));
    store_->Wait();
    return texts->Take().value_or(std::vector<PageText>{});
  }

  TestFolder folder_;
  std::unique_ptr<PrefixStore> store_;
};

TEST_F(PrefixStoreTest, PagesAndTextsSurviveARestart) {
  Open();
  EXPECT_EQ(store_->Ask(Name(1), 4000), PageStore::Room::kYes);
  store_->Save(Name(1), Page(1));
  EXPECT_TRUE(Has(Name(1), Page(1))) << "also while it is being written";
  store_->SaveText(TextOf(1));
  store_->SaveText(TextOf(2, 101));
  Open();
  store_->Wait();
  EXPECT_TRUE(Has(Name(1), Page(1)));
  EXPECT_EQ(store_->Ask(Name(1), 4000), PageStore::Room::kHave);
  EXPECT_EQ(store_->Load(Name(2)).error().code, ErrorCode::kNotFound);
  const auto texts = Texts(100);
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].key, Key(1));
  EXPECT_EQ(texts[0].scope, Key(100));
  EXPECT_EQ(texts[0].parent, Key(99));
  EXPECT_EQ(texts[0].tokens, TextOf(1).tokens);
  EXPECT_EQ(texts[0].index, 3u);
  EXPECT_EQ(store_->stats().loads, 1u);
  EXPECT_EQ(store_->stats().misses, 1u);
}

TEST_F(PrefixStoreTest, AStageOfFewerLayersReadsItsPart) {
  Open();
  store_->Save(Name(1), Page(1));
  store_->Wait();
  const auto part = store_->Load(Name(1, 3, 5));
  ASSERT_TRUE(part);
  const auto all = Page(1).bytes;
  EXPECT_TRUE(std::ranges::equal(part->bytes, std::span(all).subspan(1000, 2000)));
  EXPECT_EQ(store_->Ask(Name(1, 3, 5), 2000), PageStore::Room::kHave);
  for (const auto& [begin, end] : {std::pair(1u, 5u), std::pair(3u, 7u), std::pair(0u, 2u)}) {
    EXPECT_EQ(store_->Load(Name(1, begin, end)).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(store_->Ask(Name(1, begin, end), 2000), PageStore::Room::kYes);
  }
}

TEST_F(PrefixStoreTest, NothingOfItCanBeReadWithoutTheKey) {
  Open();
  const std::string secret(256, 'S');
  PageStore::SavedPage page{.positions = 256};
  for (const char c : secret) page.bytes.push_back(static_cast<std::byte>(c));
  store_->Save(Name(1, 0, 1), page);
  PageText text = TextOf(1);
  text.tokens.assign(64, 0x53535353);
  store_->SaveText(text);
  store_->Wait();
  ASSERT_EQ(Files().size(), 2u);
  for (const fs::path& file : Files()) {
    std::ifstream in(file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    EXPECT_EQ(bytes.find("SSSS"), bytes.npos);
    EXPECT_EQ(file.filename().string().find(Key(1).Hex().substr(0, 16)), std::string::npos)
        << "a name does not say which text it is";
    EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  }
  Open({.budget = 1 << 20, .key = KeyNumber(2)});
  store_->Wait();
  EXPECT_EQ(store_->Load(Name(1, 0, 1)).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(Files().empty()) << "what no key opens any more is removed";
}

TEST_F(PrefixStoreTest, AnyDamagedByteIsNoticed) {
  for (const size_t at : {0u, 9u, 20u, 33u, 41u, 45u, 50u, 57u, 70u, 90u, 2000u, 4167u}) {
    Open();
    store_->Save(Name(1), Page(1));
    store_->Wait();
    store_.reset();
    ASSERT_EQ(Files().size(), 1u);
    {
      std::fstream file(Files()[0], std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(static_cast<std::streamoff>(at));
      const int byte = file.get();
      file.seekp(static_cast<std::streamoff>(at));
      file.put(static_cast<char>(byte ^ 4));
    }
    ASSERT_EQ(fs::file_size(Files()[0]), 56 + 4 * (28 + 1000)) << "the last byte is 4167";
    Open();
    store_->Wait();
    EXPECT_FALSE(store_->Load(Name(1))) << at;
    EXPECT_TRUE(Files().empty()) << at;
    EXPECT_EQ(store_->stats().bytes, 0u);
    EXPECT_EQ(store_->Ask(Name(1), 4000), PageStore::Room::kYes) << "it can be stored again";
  }
}

TEST_F(PrefixStoreTest, CutFilesAndLeftoversAreRemovedAtTheStart) {
  Open();
  store_->Save(Name(1), Page(1));
  store_->Save(Name(2), Page(2));
  store_->Wait();
  store_.reset();
  const auto files = Files();
  fs::resize_file(files[0], fs::file_size(files[0]) - 1);
  fs::copy_file(files[1], files[0].string() + ".new.0123456789abcdef");
  std::ofstream(folder() + "/notes.txt") << "not ours";
  std::ofstream(folder() + "/notes.new.txt") << "nor this";
  // Another file's content under a name that looks right.
  std::string other = files[1].filename().string();
  other[0] = other[0] == 'a' ? 'b' : 'a';
  fs::copy_file(files[1], folder() + "/" + other);
  Open();
  store_->Wait();
  std::vector<fs::path> left = {files[1], folder() + "/notes.txt", folder() + "/notes.new.txt"};
  std::ranges::sort(left);
  EXPECT_EQ(Files(), left);
}

TEST_F(PrefixStoreTest, AFileThatIsCutWhileTheStoreRunsIsOnlyLost) {
  Open();
  store_->Save(Name(1), Page(1));
  store_->Wait();
  fs::resize_file(Files()[0], 60);
  EXPECT_FALSE(store_->Load(Name(1)));
  store_->Save(Name(2), Page(2));
  store_->Wait();
  fs::remove(Files()[0]);
  EXPECT_FALSE(store_->Load(Name(2)));
  EXPECT_EQ(store_->stats().bytes, 0u);
}

TEST_F(PrefixStoreTest, TheLeastRecentlyUsedGoFirstAndOfASequenceTheLastPages) {
  // Room for four pages of 4168 bytes.
  const PrefixStoreOptions options{.budget = 17000, .key = KeyNumber(1)};
  Open(options);
  for (uint8_t i = 1; i <= 4; ++i) {
    store_->Save(Name(i, 2, 6, 10u * i), Page(i));
    store_->Wait();
  }
  EXPECT_EQ(store_->stats().bytes, 4 * 4168u);
  // Sequence 1, 2, 3, 4: the page furthest behind goes.
  store_->Save(Name(5, 2, 6, 0), Page(5));
  store_->Wait();
  EXPECT_FALSE(store_->Load(Name(4, 2, 6, 40)));
  EXPECT_EQ(store_->stats().bytes, 4 * 4168u);
  // The times of use outlast a restart.
  Open(options);
  store_->Wait();
  EXPECT_TRUE(Has(Name(3, 2, 6, 0), Page(3))) << "used, as the first page of something";
  store_->Wait();
  store_->Save(Name(6, 2, 6, 0), Page(6));
  store_->Wait();
  EXPECT_TRUE(Has(Name(3, 2, 6, 0), Page(3)));
  EXPECT_FALSE(store_->Load(Name(2, 2, 6, 20)));
  // A smaller budget.
  Open({.budget = 5000, .key = KeyNumber(1)});
  store_->Wait();
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ(store_->Ask(Name(9), 6000), PageStore::Room::kFull) << "larger than all of it";
}

TEST_F(PrefixStoreTest, APageGoesWithItsText) {
  Open({.budget = 6000, .key = KeyNumber(1)});
  store_->Save(Name(1, 2, 6, 3), Page(1));
  store_->SaveText(TextOf(1));
  store_->Wait();
  EXPECT_EQ(Texts(100).size(), 1u);
  store_->Save(Name(2), Page(2));
  store_->Wait();
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_TRUE(Texts(100).empty());
  store_->SaveText(TextOf(2));
  store_->ForgetText(Key(100), Key(2));
  EXPECT_TRUE(Texts(100).empty());
  EXPECT_TRUE(Has(Name(2), Page(2)));
}

TEST_F(PrefixStoreTest, AFullDiskEndsTheWritingAndNothingElse) {
  int writes = 0;
  PrefixStoreOptions options{.budget = 1 << 20, .key = KeyNumber(1)};
  options.write = [&](const std::string& path, std::span<const std::byte> bytes) -> Result<void> {
    if (++writes > 1) return Fail(ErrorCode::kIo, "{}: no space left on device", path);
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return sys::WriteFileAtomically(path, text, 0600);
  };
  Open(options);
  for (uint8_t i = 1; i <= 3; ++i) store_->Save(Name(i), Page(i));
  store_->Wait();
  EXPECT_EQ(writes, 2) << "no further try";
  EXPECT_TRUE(Has(Name(1), Page(1)));
  EXPECT_FALSE(store_->Load(Name(2)));
  EXPECT_EQ(store_->Ask(Name(4), 4000), PageStore::Room::kFull);
  EXPECT_EQ(store_->stats().dropped, 2u);
  Open();
  store_->Wait();
  EXPECT_EQ(store_->Ask(Name(4), 4000), PageStore::Room::kYes) << "after a restart";
}

TEST_F(PrefixStoreTest, AfterAFullDiskItTriesAgain) {
  bool full = true;
  PrefixStoreOptions options{.budget = 1 << 20, .key = KeyNumber(1), .retry = Time{0}};
  options.write = [&](const std::string& path, std::span<const std::byte> bytes) -> Result<void> {
    if (full) return Fail(ErrorCode::kIo, "{}: no space left on device", path);
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return sys::WriteFileAtomically(path, text, 0600);
  };
  Open(options);
  store_->Save(Name(1), Page(1));
  store_->Wait();
  EXPECT_FALSE(store_->Load(Name(1)));
  EXPECT_EQ(store_->Ask(Name(1), 4000), PageStore::Room::kYes);
  full = false;
  store_->Save(Name(1), Page(1));
  store_->Wait();
  EXPECT_TRUE(Has(Name(1), Page(1)));
}

// Nobody reads a page whose text is gone, so nobody finds out that it is damaged.
TEST_F(PrefixStoreTest, APageThatNobodyHasReadSinceTheStartIsWrittenAgain) {
  Open();
  for (uint8_t i = 1; i <= 2; ++i) store_->Save(Name(i), Page(i));
  store_->Wait();
  for (const fs::path& file : Files()) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(fs::file_size(file) / 2));
    stream.put(7).put(8).put(9);
  }
  Open();
  store_->Wait();
  ASSERT_EQ(store_->Ask(Name(1), 4000), PageStore::Room::kYes);
  store_->Save(Name(1), Page(1));
  store_->Wait();
  EXPECT_EQ(store_->Ask(Name(1), 4000), PageStore::Room::kHave);
  EXPECT_TRUE(Has(Name(1), Page(1)));
  EXPECT_FALSE(Has(Name(2), Page(2)));
}

TEST_F(PrefixStoreTest, WhatWaitsIsBounded) {
  Mutex mutex;
  CondVar changed;
  bool hangs = true;
  PrefixStoreOptions options{.budget = 1 << 20, .key = KeyNumber(1), .queue_bytes = 9000};
  options.write = [&](const std::string&, std::span<const std::byte>) -> Result<void> {
    const MutexLock lock(mutex);
    while (hangs) changed.Wait(mutex);
    return {};
  };
  Open(options);
  for (uint8_t i = 1; i <= 2; ++i) {
    EXPECT_EQ(store_->Ask(Name(i), 4000), PageStore::Room::kYes);
    store_->Save(Name(i), Page(i));
  }
  EXPECT_EQ(store_->Ask(Name(3), 4000), PageStore::Room::kFull);
  EXPECT_EQ(store_->Ask(Name(2), 4000), PageStore::Room::kHave);
  {
    const MutexLock lock(mutex);
    hangs = false;
    changed.NotifyAll();
  }
  store_->Wait();
  EXPECT_EQ(store_->Ask(Name(3), 4000), PageStore::Room::kYes);
  store_.reset();
}

TEST_F(PrefixStoreTest, TheKeyIsMadeOnceAndReadableByItsOwnerOnly) {
  const std::string path = folder_ / "prefix.key";
  const auto key = PrefixKey(path);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_NE(*key, SealKey{});
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(PrefixKey(path), *key);
  fs::resize_file(path, 31);
  EXPECT_EQ(PrefixKey(path).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(PrefixKey(folder_ / "none/prefix.key").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace exo::store

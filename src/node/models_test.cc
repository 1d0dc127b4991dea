// Models over a disk in memory: what appears, changes, hangs and is called what.
#include "node/models.h"

#include <gtest/gtest.h>

#include "model/gguf_builder.h"
#include "store/test_folder.h"
#include "sys/fake/disk.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// A sound model with a vocabulary; `mark` makes another one of it.
std::string ModelBytes(const std::string& mark = "", const std::string& pre = "gpt-2") {
  model::GgufBuilder file = model::TinyModel("llama");
  file.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", pre)
      .Strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<|end|>"})
      .Strings("tokenizer.ggml.merges", {"a b"})
      .String("general.mark", mark);
  return model::TinyTensors(file, "llama").Build();
}

class ModelsTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> folders) {
    state_ = nullptr;  // the file is locked while it is open
    state_ = store::State::Open(folder_ / "state.db").value();
    models_ = std::make_unique<Models>(loop_, *jobs_, state_,
                                       ModelsOptions{.folders = std::move(folders),
                                                     .prepared_folder = folder_ / "prepared",
                                                     .disk = &disk_,
                                                     .times = times_,
                                                     .now = [this] { return clock_; }});
    models_->Start([] {});
  }
  void TearDown() override {
    disk_.Answer();
    jobs_.reset();
    models_.reset();
  }
  // Runs the loop until `ready`; false after a minute.
  bool RunUntil(const std::function<bool()>& ready) {
    net::Timer timer(loop_);
    const Time end = sys::Now() + std::chrono::minutes(1);
    std::function<void()> look = [&] {
      if (ready() || sys::Now() > end) return loop_.Stop();
      timer.Start(std::chrono::milliseconds(1), look);
    };
    loop_.Post(look);
    loop_.Run();
    return ready();
  }
  // The same, while the clock moves.
  bool RunWithClockUntil(const std::function<bool()>& ready) {
    return RunUntil([&] {
      clock_ += std::chrono::seconds(1);
      return ready();
    });
  }
  Result<Models::File> Await(const std::string& name) {
    std::optional<Result<Models::File>> result;
    models_->Await(name, [&](Result<Models::File> file) { result = std::move(file); });
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); })) << name;
    return result.value_or(Fail(ErrorCode::kIo, "no answer"));
  }
  Result<Models::File> Add(const std::string& path) {
    std::optional<Result<Models::File>> result;
    models_->Add(path, [&](Result<Models::File> file) { result = std::move(file); });
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); })) << path;
    return result.value_or(Fail(ErrorCode::kIo, "no answer"));
  }
  Result<void> Remove(const std::string& name) {
    std::optional<Result<void>> result;
    models_->Remove(name, [&](Result<void> removed) { result = std::move(removed); });
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); })) << name;
    return result.value_or(Fail(ErrorCode::kIo, "no answer"));
  }

  // The clock stands still unless a test moves it: on a busy machine no file is silent and none
  // settles. But `rescan`, `listing` and the order of folders (`settle`) are timers of the loop.
  Time clock_ = std::chrono::hours(1);
  ModelTimes times_ = {.rescan = std::chrono::milliseconds(20),
                       .settle = std::chrono::minutes(1),
                       .silence = std::chrono::minutes(5),
                       .listing = std::chrono::minutes(1)};
  store::TestFolder folder_;
  sys::MemoryDisk disk_;
  net::EventLoop loop_;
  std::unique_ptr<Jobs> jobs_ = std::make_unique<Jobs>(loop_);
  std::shared_ptr<store::State> state_;
  std::unique_ptr<Models> models_;
};

TEST_F(ModelsTest, FilesComeChangeAndGoWithoutARestart) {
  Start({"/m"});
  EXPECT_EQ(Await("a").error().code, ErrorCode::kNotFound);
  disk_.Write("/m/a.gguf", ModelBytes("one"));
  const auto first = Await("a");
  ASSERT_TRUE(first) << first.error().message;
  disk_.Write("/m/a.gguf", ModelBytes("two"));
  const ModelId before = (*first)->manifest().id();
  EXPECT_TRUE(RunUntil([&] {
    const auto now = models_->Find("a");
    return now != nullptr && now->manifest().id() != before;
  }));
  disk_.Remove("/m/a.gguf");
  EXPECT_TRUE(RunUntil([&] { return models_->All().empty(); }));
  EXPECT_EQ(Await("a").error().code, ErrorCode::kNotFound);
}

// Before a load: what has changed since the last scan would fail it.
TEST_F(ModelsTest, ARefreshWaitsUntilAFileThatHasChangedIsReadAgain) {
  disk_.Write("/m/a.gguf", ModelBytes("one"));
  Start({"/m"});
  const auto file = Await("a");
  ASSERT_TRUE(file);
  const ModelId id = (*file)->manifest().id();
  std::optional<Result<void>> result;
  const auto begin = [&] {
    result.reset();
    models_->Refresh(id, [&](Result<void> looked) { result = std::move(looked); });
  };
  const auto refresh = [&] {
    begin();
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    return result.value_or(Fail(ErrorCode::kIo, "no answer"));
  };
  EXPECT_TRUE(refresh());
  EXPECT_EQ(disk_.opened("/m/a.gguf"), 1u);
  disk_.Write("/m/a.gguf", ModelBytes("one"));  // touched
  EXPECT_FALSE((*file)->MakeSource());
  EXPECT_TRUE(refresh());
  ASSERT_NE(models_->Find(id), nullptr);
  EXPECT_TRUE(models_->Find(id)->MakeSource());
  disk_.Hang("/m/");
  begin();
  EXPECT_TRUE(RunWithClockUntil([&] { return result.has_value(); }));
  disk_.Answer();
  ASSERT_FALSE(result.value());
  EXPECT_NE(result->error().message.find("does not answer"), std::string::npos);
  disk_.Write("/m/a.gguf", ModelBytes("two"));
  EXPECT_TRUE(refresh());
  EXPECT_EQ(models_->Find(id), nullptr);
  EXPECT_NE(models_->Find("a"), nullptr);
  EXPECT_TRUE(refresh()) << "no file of this model is left to wait for";
}

TEST_F(ModelsTest, APipeInThePlaceOfAFileIsNoModel) {
  disk_.Write("/m/a.gguf", ModelBytes());
  Start({"/m"});
  ASSERT_TRUE(Await("a"));
  disk_.MakeOther("/m/a.gguf");
  EXPECT_TRUE(RunUntil([&] { return models_->All().empty(); }));
  disk_.Write("/m/a.gguf", ModelBytes());
  EXPECT_TRUE(Await("a"));
}

TEST_F(ModelsTest, EveryNameCanBeAskedFor) {
  disk_.Write("/m/caf\xe9.gguf", ModelBytes("latin"));
  disk_.Write("/m/.gguf", ModelBytes("no name"));
  disk_.Write("/m/._a.gguf", "what a Mac writes beside a.gguf");
  disk_.Write("/m/a.gguf", ModelBytes());
  Start({"/m"});
  EXPECT_TRUE(Await("a"));
  const auto latin = Await("caf\uFFFD");
  ASSERT_TRUE(latin) << latin.error().message;
  EXPECT_EQ((*latin)->path(), "/m/caf\xe9.gguf");
  EXPECT_EQ(models_->All().size(), 2u);
  EXPECT_EQ(disk_.opened("/m/.gguf") + disk_.opened("/m/._a.gguf"), 0u);
  const auto added = Add("/m/.gguf");
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(models_->NameOf(*added), ".gguf");
}

TEST_F(ModelsTest, AFileThatIsStillGrowingIsLeftAlone) {
  Start({"/m"});
  const std::string bytes = ModelBytes();
  const int64_t future = int64_t{4} << 60;  // a clock ahead of ours: its age says nothing
  disk_.WriteAt("/m/a.gguf", bytes.substr(0, bytes.size() / 2), future);
  for (size_t part = 1; part < 6; ++part) {
    const Time until = sys::Now() + std::chrono::milliseconds(30);
    RunUntil([&] { return sys::Now() > until; });
    clock_ += std::chrono::seconds(50);
    disk_.WriteAt("/m/a.gguf", bytes.substr(0, bytes.size() / 2 + part), future + part);
    EXPECT_EQ(models_->Find("a"), nullptr);
  }
  EXPECT_EQ(disk_.opened("/m/a.gguf"), 0u);
  disk_.WriteAt("/m/a.gguf", bytes, future + 9);
  EXPECT_TRUE(RunWithClockUntil([&] { return models_->Find("a") != nullptr; }));
}

TEST_F(ModelsTest, OneBaseNameTwiceGetsTwoNamesInTheOrderOfTheFolders) {
  for (int round = 0; round < 3; ++round) {
    disk_.Write("/big/x.gguf", ModelBytes("big"));
    disk_.Write("/small/x.gguf", ModelBytes("small"));
    disk_.Write("/a/small/x.gguf", ModelBytes("third"));
    Start({"/big", "/small", "/a/small"});
    ASSERT_TRUE(RunUntil([&] { return models_->All().size() == 3; }));
    EXPECT_EQ(models_->Find("x")->path(), "/big/x.gguf");
    EXPECT_EQ(models_->Find("x@small")->path(), "/small/x.gguf");
    EXPECT_EQ(models_->Find("x@a.small")->path(), "/a/small/x.gguf");
    EXPECT_EQ(models_->NameOf(models_->Find("x@small")), "x@small");
    jobs_.reset();
    models_.reset();
    jobs_ = std::make_unique<Jobs>(loop_);
  }
}

TEST_F(ModelsTest, CopiesAreOneModel) {
  disk_.Write("/a/x.gguf", ModelBytes());
  disk_.Write("/b/x.gguf", ModelBytes());
  Start({"/a", "/b"});
  ASSERT_TRUE(Await("x@b"));
  ASSERT_TRUE(Await("x"));
  EXPECT_EQ(models_->All().size(), 1u);
  EXPECT_EQ(models_->NameOf(models_->All()[0]), "x");
  EXPECT_EQ(models_->FurtherNamesOf(models_->All()[0]), std::vector<std::string>{"x@b"});
}

// T9: a model is usable as soon as it itself has been read; a dead drive holds up its own files.
TEST_F(ModelsTest, AFolderThatHangsHoldsUpNothingElse) {
  for (int i = 0; i < 30; ++i)
    disk_.Write(fmt::format("/nas/{:02}.gguf", i), ModelBytes(fmt::format("{}", i)));
  disk_.Write("/m/a.gguf", ModelBytes("a"));
  disk_.Hang("/nas/");
  times_.settle = times_.listing = std::chrono::milliseconds(200);
  Start({"/nas", "/m"});
  ASSERT_TRUE(RunUntil([&] { return models_->Find("a") != nullptr; }));
  const auto unknown = Await("nope");
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_NE(unknown.error().message.find("/nas does not answer"), std::string::npos);
  disk_.Answer();
  EXPECT_TRUE(RunUntil([&] { return models_->All().size() == 31; }));
  disk_.Hang("/nas/");
  disk_.Write("/m/b.gguf", ModelBytes("b"));
  EXPECT_TRUE(RunUntil([&] { return models_->Find("b") != nullptr; }));
  EXPECT_EQ(models_->All().size(), 32u);  // what was read stays known
}

TEST_F(ModelsTest, AFileThatHangsIsAnErrorForItsOwnRequestAlone) {
  disk_.Write("/m/a.gguf", ModelBytes("a"));
  Start({"/m"});
  ASSERT_TRUE(Await("a"));
  disk_.Write("/nas/b.gguf", ModelBytes("b"));
  disk_.Hang("/nas/b");
  std::optional<Result<Models::File>> hung;
  models_->Add("/nas/b.gguf", [&](Result<Models::File> file) { hung = std::move(file); });
  disk_.Write("/m/c.gguf", ModelBytes("c"));
  EXPECT_TRUE(RunUntil([&] { return models_->Find("c") != nullptr; }));
  EXPECT_FALSE(hung);
  ASSERT_TRUE(RunWithClockUntil([&] { return hung.has_value(); }));
  EXPECT_EQ(hung->error().code, ErrorCode::kIo);
  EXPECT_NE(hung->error().message.find("does not answer"), std::string::npos);
}

// T17, T18: refused when they are added, in words, as the caller's mistake.
TEST_F(ModelsTest, WhatCannotRunIsRefusedWhenItIsAdded) {
  Start({"/m"});
  disk_.Write("/x/lfs.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  disk_.Write("/x/cut.gguf", ModelBytes().substr(0, 3000));
  disk_.Write("/x/pre.gguf", ModelBytes("", "no-such-rule"));
  disk_.Write("/x/empty.gguf", "");
  for (const auto& [name, code, words] :
       std::vector<std::tuple<std::string, ErrorCode, std::string>>{
           {"lfs", ErrorCode::kInvalid, "Git LFS pointer"},
           {"cut", ErrorCode::kInvalid, ""},
           {"empty", ErrorCode::kInvalid, "an empty file"},
           {"missing", ErrorCode::kNotFound, ""},
           {"pre", ErrorCode::kUnsupported, "no-such-rule"}}) {
    const auto added = Add("/x/" + name + ".gguf");
    ASSERT_FALSE(added) << name;
    EXPECT_EQ(added.error().code, code) << added.error().message;
    EXPECT_NE(added.error().message.find(words), std::string::npos) << added.error().message;
    EXPECT_NE(added.error().message.find("/x/" + name), std::string::npos);
  }
  EXPECT_TRUE(state_->RegisteredModels().value().empty());
  disk_.Write("/x/lfs.gguf", ModelBytes());  // fetched meanwhile
  EXPECT_TRUE(Add("/x/lfs.gguf"));
}

TEST_F(ModelsTest, AnAddedModelIsForgottenAlsoWhenItsFileIsGone) {
  Start({"/m"});
  disk_.Write("/x/a.gguf", ModelBytes("a"));
  disk_.Write("/x/b.gguf", ModelBytes("b"));
  disk_.Write("/m/c.gguf", ModelBytes("c"));
  ASSERT_TRUE(Add("/x/a.gguf"));
  ASSERT_TRUE(Add("/x/b.gguf"));
  ASSERT_TRUE(Await("c"));
  EXPECT_EQ(state_->RegisteredModels().value().size(), 2u);
  EXPECT_TRUE(Remove("a"));
  EXPECT_EQ(models_->Find("a"), nullptr);
  disk_.Remove("/x/b.gguf");
  ASSERT_TRUE(RunUntil([&] { return models_->Find("b") == nullptr; }));
  EXPECT_TRUE(Remove("b"));
  EXPECT_TRUE(state_->RegisteredModels().value().empty());
  const auto of_folder = Remove("c");
  EXPECT_EQ(of_folder.error().code, ErrorCode::kInvalid);
  EXPECT_NE(of_folder.error().message.find("/m/c.gguf"), std::string::npos);
  EXPECT_EQ(Remove("nope").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace exo::node

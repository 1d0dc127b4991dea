#include "app/pull_command.h"

#include <gtest/gtest.h>

#include "app/model_path.h"
#include "app/pull_sources.h"
#include "base/units.h"

namespace exo::app {
namespace {

TEST(PullLineTest, SaysHowFarHowFastAndHowLong) {
  const PullLine line{.file = "m.gguf",
                      .completed = kGiB,
                      .total = 2 * kGiB,
                      .bytes_per_second = 20.0 * kMiB,
                      .seconds_left = 51.2};
  EXPECT_EQ(TextOf(line, false), "m.gguf  50 %  1.0 GiB of 2.0 GiB  20.0 MiB/s  52 s left");
  EXPECT_EQ(TextOf(line, true),
            "m.gguf  [############            ]  50 %  1.0 GiB of 2.0 GiB  20.0 MiB/s  52 s left");
}

TEST(PullLineTest, LeavesOutWhatIsNotKnown) {
  EXPECT_EQ(TextOf({.file = "m.gguf", .total = kMiB}, false), "m.gguf  0 %  0 B of 1.0 MiB");
  EXPECT_EQ(TextOf({.file = "m.gguf", .total = kMiB, .silent_seconds = 7}, false),
            "m.gguf  0 %  0 B of 1.0 MiB  nothing has come for 7 s");
  EXPECT_EQ(TextOf({.file = "m.gguf", .verifying = true}, true), "m.gguf  checking its SHA-256");
  EXPECT_NE(TextOf({.file = "empty"}, true).find("100 %"), std::string::npos);
  EXPECT_NE(TextOf({.file = "m", .total = 1, .bytes_per_second = 1, .seconds_left = 7384}, false)
                .find("2:03 h left"),
            std::string::npos);
}

TEST(EndpointTest, IsAnAddressWithoutASlashAtItsEnd) {
  EXPECT_EQ(ParseEndpoint("https://hub.example//").value_or(""), "https://hub.example");
  EXPECT_EQ(ParseEndpoint("http://localhost:8080").value_or(""), "http://localhost:8080");
  for (const char* text : {"", "hub.example", "https://", "ftp://hub.example", "https://a@b",
                           "https://a/?b", "https://a b", "https://a\n"})
    EXPECT_FALSE(ParseEndpoint(text)) << text;
}

TEST(ModelPathTest, AReferenceIsNoPath) {
  for (const char* text : {"hf:a/b", "hf.co/a/b:Q4_0", "huggingface.co/a/b", "ollama:a/b",
                           "https://example.com/m.gguf"}) {
    EXPECT_TRUE(IsReference(text)) << text;
    EXPECT_FALSE(LooksLikePath(text)) << text;
  }
  EXPECT_TRUE(LooksLikePath("./hf:a/b"));
  EXPECT_TRUE(LooksLikePath("folder/m.gguf"));
}

}  // namespace
}  // namespace exo::app

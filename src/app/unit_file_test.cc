#include "app/unit_file.h"

#include <gtest/gtest.h>

namespace exo::app {
namespace {

bool Has(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

TEST(UnitFileTest, StartsTheProgramAndWaitsUntilItServes) {
  const std::string unit = UnitText({.program = "/usr/bin/exo"}).value();
  EXPECT_TRUE(Has(unit, "ExecStart=\"/usr/bin/exo\" up")) << unit;
  EXPECT_TRUE(Has(unit, "Type=notify"));
  EXPECT_TRUE(Has(unit, "WantedBy=default.target"));
  EXPECT_EQ(unit.find("EXO_HOME"), std::string::npos) << "a user's data is where it always is";
}

TEST(UnitFileTest, TheSystemsServiceHasAUserAndFoldersOfItsOwn) {
  const std::string unit = UnitText({.program = "/usr/bin/exo", .system = true}).value();
  for (const char* line : {"DynamicUser=yes", "Environment=EXO_HOME=/var/lib/exo",
                           "StateDirectory=exo", "ProtectHome=yes", "WantedBy=multi-user.target"}) {
    EXPECT_TRUE(Has(unit, line)) << line;
  }
}

TEST(UnitFileTest, PathsMeanThemselves) {
  const std::string unit =
      UnitText({.program = "/opt/a b/100%/exo", .data_folder = "/srv/\"x\"\\%h"}).value();
  EXPECT_TRUE(Has(unit, "ExecStart=\"/opt/a b/100%%/exo\" up")) << unit;
  EXPECT_TRUE(Has(unit, "Environment=\"EXO_HOME=/srv/\\\"x\\\"\\\\%%h\"")) << unit;
}

TEST(UnitFileTest, APathThatNoUnitCanNameIsRefused) {
  for (const std::string path : {"exo", "", "/a\nExecStartPre=/bin/sh", "/a\xFF"}) {
    for (const UnitOptions& options :
         {UnitOptions{.program = path}, UnitOptions{.program = "/exo", .data_folder = path}}) {
      if (options.data_folder.empty() && options.program == "/exo") continue;  // the default
      const auto unit = UnitText(options);
      ASSERT_FALSE(unit) << path;
      EXPECT_EQ(unit.error().code, ErrorCode::kInvalid);
      EXPECT_NE(unit.error().message.find("absolute path"), std::string::npos);
    }
  }
}

TEST(UnitFileTest, TheSystemsServiceCannotStartWhatItDoesNotSee) {
  for (const char* program : {"/home/ann/exo/build/release/exo", "/root/exo", "/tmp/exo"}) {
    const auto unit = UnitText({.program = program, .system = true});
    ASSERT_FALSE(unit) << program;
    EXPECT_NE(unit.error().message.find("sudo make install"), std::string::npos);
    EXPECT_TRUE(UnitText({.program = program}));
  }
}

}  // namespace
}  // namespace exo::app

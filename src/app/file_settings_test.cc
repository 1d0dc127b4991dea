// The settings of a running node: where each comes from, and changes of exo.toml that leave the
// rest of the file as somebody wrote it.
#include "app/file_settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "app/settings_file.h"
#include "sys/files.h"
#include "sys/temporary_folder.h"

namespace exo::app {
namespace {

using service::Json;

std::string Changed(const std::string& text, const std::string& key,
                    const std::optional<std::string>& value) {
  const auto changed = ChangeSettingsFile(text, "exo.toml", key, value);
  return changed ? *changed : "error: " + changed.error().message;
}

TEST(SettingsFileTest, AChangeLeavesTheRestAsItIs) {
  const std::string text =
      "# mine\n"
      "name = 'küche'  # ä\n"
      "\n"
      "peers = [\n"
      "  'a:1',  # first\n"
      "  'b:2',\n"
      "]\n"
      "port=1\n";
  EXPECT_EQ(Changed(text, "name", "\"desk\""),
            "# mine\nname = \"desk\"  # ä\n\npeers = [\n  'a:1',  # first\n  'b:2',\n]\nport=1\n");
  EXPECT_EQ(Changed(text, "peers", "[]"), "# mine\nname = 'küche'  # ä\n\npeers = []\nport=1\n");
  EXPECT_EQ(Changed(text, "port", "22"), text.substr(0, text.size() - 2) + "22\n");
  EXPECT_EQ(Changed(text, "log", "\"info\""), text + "log = \"info\"\n");
  EXPECT_EQ(Changed(text, "peers", {}), "# mine\nname = 'küche'  # ä\n\nport=1\n");
  EXPECT_EQ(Changed(text, "port", {}), text.substr(0, text.size() - 7));
  EXPECT_EQ(Changed(text, "log", {}), text);
  EXPECT_EQ(Changed("", "port", "3"), "port = 3\n");
  EXPECT_EQ(Changed("port = 1", "port", "3"), "port = 3");
  EXPECT_EQ(Changed("port = 1", "port", {}), "");
  EXPECT_EQ(Changed("a = 'b'", "port", "3"), "a = 'b'\nport = 3\n");
  EXPECT_EQ(Changed("\"port\" = 1\nlog = '''\nx'''\n", "log", "'y'"), "\"port\" = 1\nlog = 'y'\n");
}

TEST(SettingsFileTest, WhatCannotBeChangedIsSaid) {
  EXPECT_NE(Changed("port = ", "log", "1").find("exo.toml line 1"), std::string::npos);
  // The new key would be one of the table.
  EXPECT_NE(Changed("[more]\nx = 1\n", "log", "'info'").find("by hand"), std::string::npos);
  EXPECT_NE(Changed("log.x = 1\nport = 1\n", "log", "'a'").find("exo.toml"), std::string::npos);
}

TEST(SettingsFileTest, TextsAreEscaped) {
  for (const std::string text :
       {"plain", "it's", "a \"quote\"", "back\\slash", "two\nlines", "ü"}) {
    const auto entries = ParseSettingsFile("a = " + TomlString(text), "");
    ASSERT_TRUE(entries) << TomlString(text);
    EXPECT_EQ((*entries)[0].texts[0], text);
  }
}

class FileSettingsTest : public testing::Test {
 protected:
  void Write(const std::string& text) { ASSERT_TRUE(sys::WriteFileAtomically(path_, text, 0600)); }
  std::string File() { return *sys::ReadFile(path_); }
  FileSettings Desk(GivenSettings command_line = {}, GivenSettings environment = {}) {
    SettingSources sources{.command_line = std::move(command_line),
                           .environment = std::move(environment),
                           .file = path_};
    Settings settings = *ReadSettings(sources);
    return {std::move(settings), std::move(sources)};
  }
  static service::SettingView Of(const service::SettingsView& view, const std::string& name) {
    return *std::ranges::find(view.settings, name, &service::SettingView::name);
  }

  const std::unique_ptr<sys::TemporaryFolder> folder_ =
      *sys::TemporaryFolder::Create("exo-settings-");
  const std::string path_ = folder_->path() + "/exo.toml";
};

TEST_F(FileSettingsTest, EachSaysWhereItComesFrom) {
  Write("name = 'desk'\nmemory_limit = 1500000001\ncluster_secret = ''\n");
  const auto view = Desk({{"port", {"7"}}}, {{"peers", {"a:1", "b:2"}}}).Read();
  EXPECT_EQ(view.file, path_);
  EXPECT_EQ(view.settings.size(), SettingInfos().size());
  EXPECT_EQ(Of(view, "name").value, "desk");
  EXPECT_EQ(Of(view, "name").origin, "file");
  EXPECT_EQ(Of(view, "name").source, path_ + " line 1");
  EXPECT_EQ(Of(view, "memory_limit").value, "1500000001") << "no digit is lost";
  EXPECT_EQ(Of(view, "port").value, 7);
  EXPECT_EQ(Of(view, "port").origin, "flag");
  EXPECT_EQ(Of(view, "port").fallback, 52416);
  EXPECT_EQ(Of(view, "peers").value, Json::parse(R"(["a:1", "b:2"])"));
  EXPECT_EQ(Of(view, "peers").origin, "environment");
  EXPECT_EQ(Of(view, "discovery").value, true);
  EXPECT_EQ(Of(view, "discovery").origin, "default");
  EXPECT_TRUE(Of(view, "isa").value.is_null());
  EXPECT_TRUE(Of(view, "cluster_secret").is_secret);
  EXPECT_TRUE(Of(view, "cluster_secret").value.is_null());
}

TEST_F(FileSettingsTest, AChangeIsWrittenAndCountsFromTheNextStartOn) {
  Write("# mine\nport = 5\n");
  FileSettings desk = Desk({{"api_port", {"0"}}});
  const auto changed = desk.Change(
      {{"port", 6}, {"hours", {"22:00-07:00"}}, {"api_port", 8}, {"memory_limit", "8GiB"}});
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_EQ(changed->later.size(), 4u);
  ASSERT_EQ(changed->hidden.size(), 1u);
  EXPECT_EQ(changed->hidden[0], std::make_pair(std::string("api_port"), std::string("--api-port")));
  EXPECT_EQ(File(),
            "# mine\nport = 6\nhours = [\"22:00-07:00\"]\napi_port = 8\nmemory_limit = \"8GiB\"\n");
  const auto view = desk.Read();
  EXPECT_EQ(Of(view, "port").value, 5);
  EXPECT_EQ(Of(view, "port").next, Json(6));
  EXPECT_EQ(Of(view, "api_port").next, std::nullopt) << "the option counts";
  ASSERT_TRUE(desk.Change({{"port", nullptr}, {"hours", nullptr}}));
  EXPECT_EQ(File(), "# mine\napi_port = 8\nmemory_limit = \"8GiB\"\n");
}

TEST_F(FileSettingsTest, ABadChangeChangesNothing) {
  Write("port = 5\n");
  FileSettings desk = Desk();
  const auto error = [&](const std::string& name, const Json& value) {
    const auto changed = desk.Change({{"log", "info"}, {name, value}});
    return changed ? "" : changed.error().message;
  };
  EXPECT_NE(error("port", 70000).find("port cannot be '70000'; it is an integer from 0 to 65535"),
            std::string::npos)
      << error("port", 70000);
  EXPECT_NE(error("port", "5").find("TOML string"), std::string::npos);
  EXPECT_NE(error("prot", 5).find("no setting 'prot'"), std::string::npos);
  EXPECT_NE(error("port", 1.5).find("cannot be 1.5"), std::string::npos);
  EXPECT_NE(error("peers", {1, 2}).find("cannot be [1,2]"), std::string::npos);
  EXPECT_NE(error("cluster_secret", "x").find("exo secret --rotate"), std::string::npos);
  EXPECT_EQ(File(), "port = 5\n");
}

TEST_F(FileSettingsTest, AFileThatIsBrokenMeanwhileIsTold) {
  Write("port = 5\n");
  FileSettings desk = Desk();
  Write("port = \n");
  const auto view = desk.Read();
  EXPECT_NE(view.problem.find("line 1"), std::string::npos);
  EXPECT_EQ(Of(view, "port").value, 5);
  EXPECT_FALSE(desk.Change({{"port", 6}}));
}

TEST_F(FileSettingsTest, ALinkStaysALink) {
  const std::string target = folder_->path() + "/real.toml";
  ASSERT_TRUE(sys::WriteFileAtomically(target, "port = 5\n", 0600));
  ASSERT_EQ(::symlink(target.c_str(), path_.c_str()), 0);
  ASSERT_TRUE(Desk().Change({{"port", 6}}));
  EXPECT_EQ(*sys::ReadFile(target), "port = 6\n");
  EXPECT_EQ(sys::CanonicalPath(path_), sys::CanonicalPath(target));
}

}  // namespace
}  // namespace exo::app

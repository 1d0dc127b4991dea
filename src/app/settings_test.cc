#include "app/settings.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "app/adapter_option.h"
#include "app/key_commands.h"
#include "app/settings_file.h"
#include "base/units.h"
#include "net/secret.h"
#include "sys/files.h"
#include "sys/temporary_folder.h"

namespace exo::app {
namespace {

std::string ErrorOf(const std::string& file) {
  Settings settings;
  const auto applied = ApplyFile(file, "exo.toml", settings);
  EXPECT_FALSE(applied) << file;
  return applied ? "" : applied.error().message;
}

TEST(SettingsTest, AScaleIsANumberAndNoPartOfAName) {
  for (const char* good : {"a.gguf", "a:0.5", "/x/a:b.gguf", "C:/x/a", "x/a:b.gguf:-2"})
    EXPECT_TRUE(ParseAdapter(good)) << good;
  EXPECT_EQ(ParseAdapter("x/a:b.gguf:-2")->file, "x/a:b.gguf");
  for (const char* bad : {"a.gguf:nan", ":abc", "a:inf", "a:1001", ":1", "", "a:", "a:0,5"}) {
    const auto parsed = ParseAdapter(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_TRUE(parsed.error().message.contains("adapter") ||
                parsed.error().message.contains("scale"))
        << parsed.error().message;
  }
}

TEST(SettingsTest, VariablesThatMeanNothingAreTold) {
  ::setenv("EXO_MEMORY_LIMT", "1", 1);
  std::string all;
  for (const std::string& sentence : StrayVariables()) all += sentence + "\n";
  ::unsetenv("EXO_MEMORY_LIMT");
  EXPECT_NE(all.find("EXO_MEMORY_LIMT means nothing; did you mean EXO_MEMORY_LIMIT?"), all.npos);
  ::setenv("EXO_MEMORY_LIMIT", "1GiB", 1);
  for (const std::string& sentence : StrayVariables())
    EXPECT_EQ(sentence.find("EXO_MEMORY_LIMIT "), sentence.npos);
  ::unsetenv("EXO_MEMORY_LIMIT");
}

TEST(SettingsTest, ThePrefixStoreCanBeOff) {
  for (const char* off : {"'off'", "'0'", "0"}) {
    Settings settings;
    ASSERT_TRUE(ApplyFile(fmt::format("prefix_store = {}\n", off), "exo.toml", settings)) << off;
    EXPECT_EQ(settings.prefix_store, 0u);
  }
  EXPECT_NE(ErrorOf("memory_limit = 'off'\n").find("memory_limit cannot be"), std::string::npos);
}

TEST(SettingsTest, FileSetsEveryType) {
  Settings settings;
  const auto applied = ApplyFile(
      "name = 'kitchen'\n"
      "port = 0\n"
      "loopback = true\n"
      "peers = ['10.0.0.2:52416', 'nas:52416']\n"
      "memory_limit = '8GiB'\n"
      "tensor_cache = 1073741824\n"
      "threads = 4\n"
      "isa = 'avx2'\n"
      "default_context = 8192\n"
      "prefix_store = '2GiB'\n"
      "log = 'info'\n",
      "exo.toml", settings);
  ASSERT_TRUE(applied) << applied.error().message;
  EXPECT_EQ(settings.name, "kitchen");
  EXPECT_EQ(settings.port, 0);
  EXPECT_TRUE(settings.loopback);
  EXPECT_EQ(settings.peers, (std::vector<std::string>{"10.0.0.2:52416", "nas:52416"}));
  EXPECT_EQ(settings.memory_limit, 8 * kGiB);
  EXPECT_EQ(settings.tensor_cache, kGiB);
  EXPECT_EQ(settings.threads, 4u);
  EXPECT_EQ(settings.isa, "avx2");
  EXPECT_EQ(settings.default_context, 8192u);
  EXPECT_EQ(settings.prefix_store, 2 * kGiB);
  EXPECT_EQ(settings.log, LogLevel::kInfo);
  EXPECT_EQ(settings.origins.at("threads"), "exo.toml line 7");
  EXPECT_TRUE(settings.IsDefault("api_port"));
  EXPECT_EQ(settings.api_port, kDefaultApiPort);
}

TEST(SettingsTest, AnUnknownKeyNamesTheNearest) {
  EXPECT_EQ(ErrorOf("\nthread = 4\n"),
            "exo.toml line 2: there is no setting 'thread'; did you mean 'threads'?");
  EXPECT_EQ(ErrorOf("frobnicate = 4\n"),
            "exo.toml line 1: there is no setting 'frobnicate'; `exo config` lists them");
  EXPECT_EQ(ErrorOf("[node]\nport = 1\n"),
            "exo.toml line 1: there is no setting 'node'; `exo config` lists them");
}

TEST(SettingsTest, AWrongTypeSaysTypeValueAndLine) {
  EXPECT_EQ(ErrorOf("\n\nport = 'abc'\n"),
            "exo.toml line 3: port = 'abc' is a TOML string; it is an integer from 0 to 65535");
  EXPECT_EQ(ErrorOf("loopback = 1\n"),
            "exo.toml line 1: loopback = 1 is a TOML integer; it is true or false");
  EXPECT_EQ(ErrorOf("peers = 'a:1'\n"),
            "exo.toml line 1: peers = 'a:1' is a TOML string; it is a list of strings");
  EXPECT_EQ(ErrorOf("peers = [1, 2]\n"),
            "exo.toml line 1: peers = [ 1, 2 ] is a TOML array; it is a list of strings");
  EXPECT_EQ(ErrorOf("threads = 2.5\n"),
            "exo.toml line 1: threads = 2.5 is a TOML float; it is an integer from 1 to 1024");
}

TEST(SettingsTest, AValueOutOfRangeSaysTheRange) {
  EXPECT_EQ(ErrorOf("threads = 0\n"),
            "exo.toml line 1: threads cannot be '0'; it is an integer from 1 to 1024");
  EXPECT_EQ(ErrorOf("port = 70000\n"),
            "exo.toml line 1: port cannot be '70000'; it is an integer from 0 to 65535");
  EXPECT_EQ(ErrorOf("port = -1\n"),
            "exo.toml line 1: port cannot be '-1'; it is an integer from 0 to 65535");
  EXPECT_NE(ErrorOf("memory_limit = 'much'\n").find("8GiB"), std::string::npos);
  EXPECT_NE(ErrorOf("memory_limit = 'nan'\n").find("memory_limit cannot be"), std::string::npos);
  EXPECT_NE(ErrorOf("isa = 'mmx'\n").find("reference, avx2"), std::string::npos);
  EXPECT_NE(ErrorOf("log = 'loud'\n").find("debug, info, warning"), std::string::npos);
}

TEST(SettingsTest, BrokenTomlSaysWhere) {
  EXPECT_EQ(ErrorOf("port = 1\nname = 'x\n").rfind("exo.toml line 2, column ", 0), 0u);
  EXPECT_NE(ErrorOf("port = 1\nport = 2\n").find("line 2"), std::string::npos);
}

TEST(SettingsTest, CommandLineWinsOverEnvironmentOverFileOverDefault) {
  const auto folder = *sys::TemporaryFolder::Create("exo-settings-test");
  const std::string file = folder->path() + "/my.toml";
  ASSERT_TRUE(sys::WriteFileAtomically(
      file, "name = 'file'\nport = 1\napi_port = 2\npeers = ['a:1', 'b:1']\n", 0600));
  const auto settings =
      ReadSettings({.command_line = {{"name", {"line"}}},
                    .environment = {{"name", {"env"}}, {"port", {"7"}}, {"peers", {"c:1"}}},
                    .file = file});
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->name, "line");
  EXPECT_EQ(settings->origins.at("name"), "--name");
  EXPECT_EQ(settings->port, 7);
  EXPECT_EQ(settings->origins.at("port"), "EXO_PORT");
  EXPECT_EQ(settings->api_port, 2);
  EXPECT_EQ(settings->origins.at("api_port"), file + " line 3");
  EXPECT_EQ(settings->peers, std::vector<std::string>{"c:1"});
  EXPECT_EQ(settings->threads, 0u);
  EXPECT_EQ(SettingText(*settings, "threads"), "(all cores)");
  EXPECT_EQ(SettingText(*settings, "port"), "7");
}

TEST(SettingsTest, EachSourceNamesItselfInErrors) {
  const auto line = ReadSettings({.command_line = {{"threads", {"many"}}}});
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().message,
            "--threads: threads cannot be 'many'; it is an integer from 1 to 1024");
  const auto environment = ReadSettings({.environment = {{"api_port", {"99999"}}}});
  ASSERT_FALSE(environment);
  EXPECT_EQ(environment.error().message,
            "EXO_API_PORT: api_port cannot be '99999'; it is an integer from 0 to 65535");
  const auto missing = ReadSettings({.file = "/nonexistent/exo.toml"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
}

TEST(SettingsTest, TheSecretIsNotShown) {
  Settings settings;
  const std::string secret = net::ClusterSecret::Create()->Text();
  ASSERT_TRUE(ApplyFile("cluster_secret = '" + secret + "'\n", "exo.toml", settings));
  EXPECT_EQ(settings.cluster_secret, secret);
  EXPECT_EQ(SettingText(settings, "cluster_secret").find(secret.substr(0, 4)), std::string::npos);
  EXPECT_EQ(ErrorOf("cluster_secret = 424242\n").find("424242"), std::string::npos);
  EXPECT_EQ(ErrorOf("cluster_secret = 'ABCD'\n").find("ABCD"), std::string::npos);
}

// What a node would refuse at its start is refused when the settings are read.
TEST(SettingsTest, PeersAndSecretsAreReadAsTheNodeReadsThem) {
  EXPECT_EQ(ErrorOf("peers = ['nas:52416', 'nas:0']\n"),
            "exo.toml line 1: peers: \"nas:0\" needs a port: HOST:PORT");
  EXPECT_EQ(ErrorOf("\npeers = ['nas']\n"),
            "exo.toml line 2: peers: \"nas\" needs a port: HOST:PORT");
  EXPECT_EQ(ErrorOf("peers = ['nas:x']\n"),
            "exo.toml line 1: peers: \"nas:x\": \"x\" is no port (1 to 65535)");
  EXPECT_EQ(ErrorOf("cluster_secret = 'ABCD'\n"),
            "exo.toml line 1: cluster_secret: the secret has 4 characters instead of 56 (14 groups "
            "of 4)");
  const auto environment = ReadSettings({.environment = {{"peers", {"a:1", "b"}}}});
  ASSERT_FALSE(environment);
  EXPECT_EQ(environment.error().message, "EXO_PEERS: peers: \"b\" needs a port: HOST:PORT");
  Settings settings;
  EXPECT_TRUE(ApplyFile("cluster_secret = ''\n", "exo.toml", settings)) << "the data folder's";
}

TEST(SettingsTest, ATildeInModelFoldersIsTheHomeFolder) {
  ASSERT_EQ(::setenv("HOME", "/home/ann", 1), 0);
  Settings settings;
  ASSERT_TRUE(ApplyFile("models = ['~', '~/gguf', '/x/~y', 'z~']\n", "exo.toml", settings));
  EXPECT_EQ(settings.models,
            (std::vector<std::string>{"/home/ann", "/home/ann/gguf", "/x/~y", "z~"}));
  const auto environment = ReadSettings({.environment = {{"models", {"/a", "~/b"}}}});
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->models, (std::vector<std::string>{"/a", "/home/ann/b"}));
  EXPECT_EQ(ErrorOf("models = ['~bob/gguf']\n"),
            "exo.toml line 1: models: \"~bob/gguf\": only ~ and ~/ stand for a home folder; write "
            "the whole path");
  ASSERT_EQ(::unsetenv("HOME"), 0);
  EXPECT_NE(ErrorOf("models = ['~/gguf']\n").find("HOME is not set"), std::string::npos);
}

// Anything but a file that is not there is told, and nothing is waited for.
TEST(SettingsTest, WhatNoParserExpectsIsAnErrorWithItsLine) {
  const auto folder = *sys::TemporaryFolder::Create("exo-settings-test");
  const std::string file = folder->path() + "/exo.toml";
  for (const char* text :
       {"[[[a", "[[= \"x\"", "[[\x01", "[[[[[[[[[[", "[[", "[[a", "a = ", "= 1"}) {
    ASSERT_TRUE(sys::WriteFileAtomically(file, text, 0600));
    const auto settings = ReadSettings({.file = file});
    ASSERT_FALSE(settings) << text;
    EXPECT_NE(settings.error().message.find("line 1"), std::string::npos)
        << text << ": " << settings.error().message;
  }
}

TEST(SettingsTest, ANameCanBeShownAndIsShort) {
  const auto apply = [](const std::string& name) {
    Settings settings;
    return ApplyFile("name = " + TomlString(name), "exo.toml", settings).has_value();
  };
  EXPECT_TRUE(apply("Küche 2"));
  EXPECT_TRUE(apply(std::string(64, 'a')));
  EXPECT_FALSE(apply(std::string(65, 'a')));
  EXPECT_FALSE(apply("\x1b[31mred"));
}

TEST(SettingsTest, AFileThatCannotBeReadIsAnErrorThatNamesIt) {
  const auto folder = *sys::TemporaryFolder::Create("exo-settings-test");
  const std::string file = folder->path() + "/exo.toml";
  ASSERT_EQ(::setenv("EXO_HOME", folder->path().c_str(), 1), 0);
  EXPECT_TRUE(ReadSettings({})) << "none at all";
  const auto message = [&] {
    const auto settings = ReadSettings({});
    const auto named = ReadSettings({.file = file});
    EXPECT_FALSE(settings);
    EXPECT_FALSE(named);
    (void)sys::RemoveFile(file);
    return settings ? "" : settings.error().message;
  };
  ASSERT_EQ(::symlink("nowhere.toml", file.c_str()), 0);
  EXPECT_EQ(message(),
            "cannot open " + file + ": it is a link to nowhere.toml, which does not exist");
  ASSERT_EQ(::symlink("exo.toml", file.c_str()), 0);
  EXPECT_EQ(message(), "cannot open " + file + ": its links lead in a circle");
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_EQ(message(), file + " is a named pipe, not a regular file");
  ASSERT_EQ(::mkdir(file.c_str(), 0700), 0);
  EXPECT_EQ(message(), file + " is a folder, not a regular file");
  ASSERT_EQ(::rmdir(file.c_str()), 0);
  ASSERT_EQ(::unsetenv("EXO_HOME"), 0);
  EXPECT_TRUE(ReadSettings({.file = "/dev/null"})) << "an empty one";
}

TEST(SettingsTest, AddressesToListenOnAreNumeric) {
  const auto text = [](const std::string& given) {
    const auto address = ParseListen(given);
    return address ? fmt::format("{} {}", address->host, address->port) : "refused";
  };
  EXPECT_EQ(text("192.168.1.5"), "192.168.1.5 52417");
  EXPECT_EQ(text("192.168.1.5:8443"), "192.168.1.5 8443");
  EXPECT_EQ(text("0.0.0.0:0"), "0.0.0.0 0");
  EXPECT_EQ(text("::"), ":: 52417");
  EXPECT_EQ(text("[::]:0"), ":: 0");
  EXPECT_EQ(text("[fe80::1]:1"), "fe80::1 1");
  EXPECT_EQ(text("::0"), "::0 52417");
  for (const char* bad : {"", "localhost", "kitchen.local:1", "*", "*:8443", "1.2.3", "1.2.3.4:x",
                          "1.2.3.4:65536", "[::1", "1.2.3.4:", ":0", ":8443"}) {
    EXPECT_EQ(text(bad), "refused") << bad;
  }
}

TEST(SettingsTest, WhatADeviceGivesIsCheckedWhereItIsSet) {
  Settings settings;
  ASSERT_TRUE(ApplyFile("min_charge = 0\nowner_share = 100\nhours = ['22:00-07:00']\n", "exo.toml",
                        settings));
  EXPECT_EQ(settings.min_charge, 0u);
  EXPECT_EQ(settings.owner_share, 100u);
  EXPECT_EQ(ErrorOf("hot_share = 101\n"),
            "exo.toml line 1: hot_share cannot be '101'; it is an integer from 0 to 100");
  EXPECT_EQ(ErrorOf("\nhours = ['noon']\n"),
            "exo.toml line 2: hours: \"noon\" is no time of day such as 22:00-07:00 (hours and "
            "minutes of local time, two digits each)");
}

TEST(SettingsTest, OriginsAreWrittenAsBrowsersDo) {
  Settings settings;
  ASSERT_TRUE(ApplyFile("allow_origins = [\"HTTPS://Chat.Home/\", \"app://x\"]", "f", settings));
  EXPECT_EQ(settings.allow_origins, (std::vector<std::string>{"https://chat.home", "app://x"}));
  for (const char* bad : {"*", "null", "https://a/b", "chat.home"}) {
    const auto refused = ApplyFile(fmt::format("allow_origins = [\"{}\"]", bad), "f", settings);
    ASSERT_FALSE(refused) << bad;
    EXPECT_NE(refused.error().message.find("is no origin"), std::string::npos);
  }
}

TEST(KeyCommandsTest, LimitsAreNumbersWithTheirUnits) {
  EXPECT_EQ(ParseRate("60"), 60u);
  EXPECT_EQ(ParseRate("1/min"), 1u);
  EXPECT_EQ(ParseQuota("100000"), 100'000u);
  EXPECT_EQ(ParseQuota("100k"), 100'000u);
  EXPECT_EQ(ParseQuota("2M/day"), 2'000'000u);
  for (const char* bad : {"", "0", "-1", "1.5", "60/h", "/min", "1000001", "x", " 1", "1 "})
    EXPECT_FALSE(ParseRate(bad)) << bad;
  for (const char* bad : {"", "0", "k", "-1", "1.5k", "1G", "1kM", "281474976711k", "1/h", " 1"})
    EXPECT_FALSE(ParseQuota(bad)) << bad;
}

}  // namespace
}  // namespace exo::app

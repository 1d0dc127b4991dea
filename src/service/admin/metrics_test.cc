// The whole of GET /metrics, read as strictly as Prometheus documents its text format.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "service/harness.h"

namespace exo::service::admin {
namespace {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};
struct Family {
  std::string type;
  std::vector<Sample> samples;
};

// name{label="value",...} number
Sample ReadSample(const std::string& line) {
  static const std::regex kWhole(
      R"re(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? (-?[0-9][0-9.e+-]*|\+Inf|-Inf|NaN))re");
  static const std::regex kLabel(R"re(([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(,|$))re");
  std::smatch parts;
  if (!std::regex_match(line, parts, kWhole)) {
    ADD_FAILURE() << "no sample: " << line;
    return {};
  }
  Sample sample{.name = parts[1], .value = std::stod(parts[3])};
  std::string labels = parts[2];
  for (std::smatch label; !labels.empty(); labels = label.suffix()) {
    if (!std::regex_search(labels, label, kLabel, std::regex_constants::match_continuous)) {
      ADD_FAILURE() << "no labels: " << line;
      break;
    }
    EXPECT_TRUE(sample.labels.emplace(label[1], label[2]).second) << line;
  }
  return sample;
}

// A name is of its family: the same, or of a histogram with its suffix.
bool IsOf(const std::string& sample, const std::string& family, const std::string& type) {
  if (type != "histogram") return sample == family;
  const std::set<std::string> names = {family + "_bucket", family + "_sum", family + "_count"};
  return names.contains(sample);
}

std::map<std::string, Family> ReadMetrics(const std::string& text) {
  EXPECT_TRUE(text.ends_with('\n'));
  std::map<std::string, Family> families;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen;
  std::istringstream lines(text);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    static const std::regex kHelp("# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)");
    static const std::regex kType("# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (gauge|counter|histogram)");
    std::smatch parts;
    if (std::regex_match(line, parts, kHelp)) {
      name = parts[1];
      EXPECT_FALSE(families.contains(name)) << "a family stands in one place: " << line;
    } else if (std::regex_match(line, parts, kType)) {
      EXPECT_EQ(parts[1], name) << "its help comes before it";
      families[name].type = parts[2];
    } else {
      const Sample sample = ReadSample(line);
      Family& family = families[name];
      EXPECT_TRUE(IsOf(sample.name, name, family.type)) << line << " in " << name;
      EXPECT_TRUE(seen.emplace(sample.name, sample.labels).second) << "twice: " << line;
      family.samples.push_back(sample);
    }
  }
  return families;
}

// Buckets ascend, hold those below them, and the last one holds all.
void CheckHistogram(const std::string& name, const Family& family) {
  struct Series {
    double bound = -1, within = 0, all = -1, count = -1;
    bool has_sum = false;
  };
  std::map<std::map<std::string, std::string>, Series> series;
  for (const Sample& sample : family.samples) {
    auto labels = sample.labels;
    const auto le = labels.extract("le");
    Series& one = series[labels];
    if (sample.name == name + "_sum") {
      one.has_sum = true;
    } else if (sample.name == name + "_count") {
      one.count = sample.value;
    } else {
      ASSERT_FALSE(le.empty()) << name;
      const double bound = std::stod(le.mapped() == "+Inf" ? "inf" : le.mapped());
      EXPECT_GT(bound, one.bound) << name;
      EXPECT_GE(sample.value, one.within) << name;
      one.bound = bound;
      one.within = sample.value;
      if (std::isinf(bound)) one.all = sample.value;
    }
  }
  for (const auto& [labels, one] : series) {
    EXPECT_TRUE(one.has_sum) << name;
    EXPECT_EQ(one.all, one.count) << name;
    EXPECT_GE(one.count, 0) << name;
  }
}

std::map<std::string, Family> Scrape() {
  TestServer server;
  return ReadMetrics(Call(server, "GET", "/metrics").body);
}

double ValueOf(std::map<std::string, Family>& families, const std::string& name,
               const std::map<std::string, std::string>& labels = {}) {
  for (const auto& [family, all] : families)
    for (const Sample& sample : all.samples)
      if (sample.name == name && sample.labels == labels) return sample.value;
  ADD_FAILURE() << "no " << name;
  return 0;
}

TEST(MetricsTest, AreStrictlyPrometheusText) {
  auto families = Scrape();
  EXPECT_GT(families.size(), 60u);
  for (const auto& [name, family] : families) {
    EXPECT_NE(family.type, "") << name;
    EXPECT_EQ(name.ends_with("_total"), family.type == "counter") << name;
    if (family.type == "histogram") CheckHistogram(name, family);
  }
}

TEST(MetricsTest, NamesOfOtherModelServersAreThere) {
  auto families = Scrape();
  for (const char* name :
       {"vllm:num_requests_running",         "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",          "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",      "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",      "vllm:request_success_total",
        "vllm:time_to_first_token_seconds",  "vllm:inter_token_latency_seconds",
        "vllm:e2e_request_latency_seconds",  "vllm:request_queue_time_seconds",
        "vllm:request_prefill_time_seconds", "vllm:request_decode_time_seconds",
        "llamacpp:prompt_tokens_total",      "llamacpp:prompt_seconds_total",
        "llamacpp:tokens_predicted_total",   "llamacpp:tokens_predicted_seconds_total",
        "llamacpp:prompt_tokens_seconds",    "llamacpp:predicted_tokens_seconds",
        "llamacpp:requests_processing",      "llamacpp:requests_deferred",
        "llamacpp:n_decode_total",           "llamacpp:n_busy_slots_per_decode"})
    EXPECT_TRUE(families.contains(name)) << name;
  const std::map<std::string, std::string> tiny = {{"model_name", "tiny"}};
  EXPECT_EQ(ValueOf(families, "vllm:prefix_cache_hits_total", tiny), 4);
  EXPECT_EQ(ValueOf(families, "vllm:kv_cache_usage_perc", tiny), 0.25);
  EXPECT_EQ(ValueOf(families, "vllm:request_success_total",
                    {{"model_name", "tiny"}, {"finished_reason", "stop"}}),
            2);
  const auto bucket = [&](const char* le) {
    return ValueOf(families, "vllm:time_to_first_token_seconds_bucket",
                   {{"model_name", "tiny"}, {"le", le}});
  };
  EXPECT_EQ(bucket("0.06"), 0);
  EXPECT_EQ(bucket("0.08"), 1);
  EXPECT_EQ(bucket("2560"), 1);
  EXPECT_EQ(bucket("+Inf"), 2) << "beyond every bound";
  EXPECT_EQ(ValueOf(families, "llamacpp:prompt_seconds_total"), 2);
  EXPECT_EQ(ValueOf(families, "llamacpp:n_busy_slots_per_decode"), 1.5);
}

TEST(MetricsTest, DevicesAndLinksSayWhatIsKnownOfThem) {
  auto families = Scrape();
  const std::map<std::string, std::string> kitchen = {{"device", "kit\\\"chen"},
                                                      {"id", "01010101"}};
  EXPECT_EQ(ValueOf(families, "exo_device_temperature_celsius", kitchen), 71);
  EXPECT_EQ(ValueOf(families, "exo_device_battery_charge_ratio", kitchen), 0.4);
  EXPECT_EQ(ValueOf(families, "exo_device_throttled", kitchen), 1);
  EXPECT_EQ(ValueOf(families, "exo_device_share_ratio", kitchen), 0.5);
  EXPECT_EQ(ValueOf(families, "exo_stage_seconds_total", kitchen), 1.5);
  EXPECT_EQ(families["exo_device_temperature_celsius"].samples.size(), 1u) << "desk has no sensor";
  const std::map<std::string, std::string> desk = {{"peer", "desk"}, {"id", "02020202"}};
  EXPECT_EQ(ValueOf(families, "exo_link_round_trip_seconds", desk), 0.0005);
  EXPECT_EQ(ValueOf(families, "exo_link_received_bytes_total", desk), 2000);
}

// Every figure that the dashboard for Grafana shows is one that a node gives.
TEST(MetricsTest, DashboardUsesWhatThereIs) {
  std::ifstream file(EXO_SOURCE_DIR "/docs/grafana/exo.json");
  const Json dashboard =
      ParseJson(std::string(std::istreambuf_iterator<char>(file), {})).value_or(Json());
  ASSERT_TRUE(dashboard["panels"].is_array());
  std::set<std::string> names;
  for (const auto& [name, family] : Scrape())
    for (const Sample& sample : family.samples) names.insert(sample.name);
  static const std::regex kName("(exo_|vllm:|llamacpp:)[a-z0-9_]+");
  size_t used = 0;
  for (const Json& panel : dashboard["panels"]) {
    for (const Json& target : panel.value("targets", Json::array())) {
      const std::string expression = target["expr"];
      const size_t before = used;
      for (std::sregex_iterator at(expression.begin(), expression.end(), kName), end; at != end;
           ++at, ++used)
        EXPECT_TRUE(names.contains(at->str())) << at->str() << " in " << expression;
      EXPECT_GT(used, before) << expression;
    }
  }
  EXPECT_GT(used, 40u);
}

}  // namespace
}  // namespace exo::service::admin

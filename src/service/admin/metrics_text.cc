#include "service/admin/metrics_text.h"

#include <fmt/format.h>

#include <iterator>

namespace exo::service::admin {
namespace {

void AppendEscaped(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

}  // namespace

void MetricsText::Family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void MetricsText::Gauge(std::string_view name, std::string_view help, double value) {
  Family(name, "gauge", help);
  Sample({}, value);
}

void MetricsText::Counter(std::string_view name, std::string_view help, double value) {
  Family(name, "counter", help);
  Sample({}, value);
}

void MetricsText::Sample(const MetricLabels& labels, double value) {
  Line("", labels, "", value);
}

void MetricsText::Samples(const MetricLabels& labels, const node::Histogram& histogram) {
  std::vector<std::pair<double, uint64_t>> within;
  uint64_t so_far = 0;
  for (size_t i = 0; i < histogram.bounds().size(); ++i)
    within.emplace_back(histogram.bounds()[i], so_far += histogram.counts()[i]);
  Buckets(labels, within, histogram.sum(), histogram.count());
}

void MetricsText::Buckets(const MetricLabels& labels,
                          std::span<const std::pair<double, uint64_t>> within, double sum,
                          uint64_t count) {
  for (const auto& [bound, observed] : within)
    Line("_bucket", labels, fmt::format("{}", bound), static_cast<double>(observed));
  Line("_bucket", labels, "+Inf", static_cast<double>(count));
  Line("_sum", labels, "", sum);
  Line("_count", labels, "", static_cast<double>(count));
}

void MetricsText::Line(std::string_view suffix, const MetricLabels& labels, std::string_view le,
                       double value) {
  text_ += name_;
  text_ += suffix;
  char separator = '{';
  const auto add = [&](std::string_view name, std::string_view text) {
    text_ += std::exchange(separator, ',');
    text_ += name;
    text_ += "=\"";
    AppendEscaped(text_, text);
    text_ += '"';
  };
  for (const auto& [name, text] : labels) add(name, text);
  if (!le.empty()) add("le", le);
  if (separator == ',') text_ += '}';
  fmt::format_to(std::back_inserter(text_), " {}\n", value);
}

}  // namespace exo::service::admin

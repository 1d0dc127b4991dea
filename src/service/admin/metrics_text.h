// Prometheus' text format, version 0.0.4: families with their help and type, and their samples.
// Thread: one at a time.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node/model_metrics.h"

namespace exo::service::admin {

// Names are ours and valid; values may be anything.
using MetricLabels = std::vector<std::pair<std::string_view, std::string>>;

class MetricsText {
 public:
  // A family of one sample.
  void Gauge(std::string_view name, std::string_view help, double value);
  void Counter(std::string_view name, std::string_view help, double value);

  // Begins a family; its samples follow. `type`: "gauge", "counter" or "histogram".
  void Family(std::string_view name, std::string_view type, std::string_view help);
  // Of the family that was begun last.
  void Sample(const MetricLabels& labels, double value);
  void Samples(const MetricLabels& labels, const node::Histogram& histogram);
  // Of a histogram: each bound with the observations up to it.
  void Buckets(const MetricLabels& labels, std::span<const std::pair<double, uint64_t>> within,
               double sum, uint64_t count);

  std::string Take() { return std::move(text_); }

 private:
  void Line(std::string_view suffix, const MetricLabels& labels, std::string_view le, double value);

  std::string text_;
  std::string name_;  // of the family that was begun last
};

}  // namespace exo::service::admin

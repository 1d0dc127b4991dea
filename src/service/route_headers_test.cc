#include "service/route_headers.h"

#include <gtest/gtest.h>

namespace exo::service {
namespace {

NodeId DeviceId(uint8_t value) {
  NodeId id;
  id.bytes.fill(value);
  return id;
}

TEST(RouteHeadersTest, DevicesOfOneNameAreToldApart) {
  const std::vector<node::StageReport> stages = {
      {.node = "my desk", .id = DeviceId(0xab), .layer_end = 4, .milliseconds = 1},
      {.node = "my_desk", .id = DeviceId(0xcd), .layer_begin = 4, .layer_end = 6},
      {.node = "phone", .id = DeviceId(1), .layer_begin = 6, .layer_end = 8},
      {.node = "phone", .id = DeviceId(1), .layer_begin = 8, .layer_end = 9}};
  EXPECT_EQ(RouteHeaders(stages, wire::Codec::kF32)[0].second,
            "my_desk_abababab;layers=0-3, my_desk_cdcdcdcd;layers=4-5, phone;layers=6-7, "
            "phone;layers=8-8");
  EXPECT_TRUE(TimingHeaders(stages)[0].second.starts_with("my_desk_abababab;dur=1.000, "));
  EXPECT_TRUE(RouteHeaders({}, wire::Codec::kF32).empty());
  const Headers lossy = RouteHeaders(stages, wire::Codec::kInt8);
  ASSERT_EQ(lossy.size(), 2u);
  EXPECT_EQ(lossy[1], (Headers::value_type{"X-Exo-Wire", "int8"}));
}

}  // namespace
}  // namespace exo::service

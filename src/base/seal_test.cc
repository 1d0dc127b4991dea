#include "base/seal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace exo {
namespace {

std::vector<std::byte> Bytes(std::string_view hex) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}
template <class Array>
Array Fixed(std::string_view hex) {
  Array array{};
  std::ranges::copy(Bytes(hex), array.begin());
  return array;
}

// Test case 16 of the GCM specification (McGrew and Viega 2005, appendix B).
TEST(SealTest, GivesTheBytesOfTheSpecification) {
  const auto key =
      Fixed<SealKey>("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const auto nonce = Fixed<SealNonce>("cafebabefacedbaddecaf888");
  const auto known = Bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const auto plain = Bytes(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
      "b525b16aedf5aa0de657ba637b39");
  auto bytes = plain;
  const SealTag tag = Seal(key, nonce, known, bytes);
  EXPECT_EQ(bytes,
            Bytes("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e4859"
                  "0dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"));
  EXPECT_EQ(tag, Fixed<SealTag>("76fc6ece0f4e1768cddf8853bb2d551b"));
  ASSERT_TRUE(Unseal(key, nonce, tag, known, bytes));
  EXPECT_EQ(bytes, plain);
}

TEST(SealTest, AnyOtherBitIsRefused) {
  SealKey key{};
  SealNonce nonce{};
  std::vector<std::byte> known(5), bytes(100);
  const SealTag tag = Seal(key, nonce, known, bytes);
  const auto opens = [&](auto change) {
    SealKey k = key;
    SealNonce n = nonce;
    SealTag t = tag;
    auto a = known, b = bytes;
    change(k, n, t, a, b);
    return Unseal(k, n, t, a, b);
  };
  constexpr std::byte kBit{0x10};
  EXPECT_TRUE(opens([](auto&, auto&, auto&, auto&, auto&) {}));
  EXPECT_FALSE(opens([](auto& k, auto&, auto&, auto&, auto&) { k[31] ^= kBit; }));
  EXPECT_FALSE(opens([](auto&, auto& n, auto&, auto&, auto&) { n[0] ^= kBit; }));
  EXPECT_FALSE(opens([](auto&, auto&, auto& t, auto&, auto&) { t[15] ^= kBit; }));
  EXPECT_FALSE(opens([](auto&, auto&, auto&, auto& a, auto&) { a[4] ^= kBit; }));
  EXPECT_FALSE(opens([](auto&, auto&, auto&, auto&, auto& b) { b[99] ^= kBit; }));
  EXPECT_FALSE(opens([](auto&, auto&, auto&, auto&, auto& b) { b.pop_back(); }));
}

TEST(SealTest, NothingCanBeSealedToo) {
  const SealTag tag = Seal({}, {}, {}, {});
  EXPECT_TRUE(Unseal({}, {}, tag, {}, {}));
}

}  // namespace
}  // namespace exo

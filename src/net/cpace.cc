#include "net/cpace.h"

#include <sodium.h>

#include <algorithm>

#include "base/check.h"

namespace exo::net {
namespace {

static_assert(Cpace::kShareBytes == crypto_core_ristretto255_BYTES);
static_assert(sizeof(Cpace::Scalar) == crypto_core_ristretto255_SCALARBYTES);
static_assert(Cpace::kTagBytes == crypto_auth_hmacsha512_BYTES);
static_assert(sizeof(Cpace::Key) == crypto_hash_sha512_BYTES);

constexpr std::string_view kGeneratorLabel = "CPaceRistretto255";
constexpr std::string_view kKeyLabel = "CPaceRistretto255_ISK";
constexpr std::string_view kTagLabel = "CPaceMac";
constexpr size_t kHashBlock = 128;  // of SHA-512

std::string_view AsText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
const uint8_t* Octets(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// prepend_len of the draft: the length as LEB128, then the bytes.
std::string WithLength(std::string_view bytes) {
  std::string out;
  size_t left = bytes.size();
  do {
    out += static_cast<char>((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>= 7;
  } while (left > 0);
  return out.append(bytes);
}

Cpace::Key HashOf(std::string_view bytes) {
  Cpace::Key hash;
  crypto_hash_sha512(hash.data(), Octets(bytes), bytes.size());
  return hash;
}

void Wipe(std::string& text) {
  sodium_memzero(text.data(), text.size());
}

// libsodium picks its code once per process, thread-safe.
void PrepareSodium() {
  static const int ready = sodium_init();
  CHECK(ready >= 0);
}

}  // namespace

Cpace::Share Cpace::Generator(const CpaceInput& input) {
  PrepareSodium();
  // Padded so that the code fills the first block of the hash alone.
  std::string text = WithLength(kGeneratorLabel) + WithLength(input.code);
  const size_t padding = kHashBlock - std::min(kHashBlock, text.size() + 1);
  text += WithLength(std::string(padding, '\0'));
  text += WithLength(input.channel) + WithLength(input.session);
  Key hash = HashOf(text);
  Share generator;
  CHECK_EQ(crypto_core_ristretto255_from_hash(generator.data(), hash.data()), 0);
  Wipe(text);
  sodium_memzero(hash.data(), hash.size());
  return generator;
}

Cpace::Cpace(CpaceRole role, CpaceInput input) : role_(role), input_(std::move(input)) {
  const Share generator = Generator(input_);
  // A scalar of zero would give the neutral element, which multiplication refuses.
  do {
    crypto_core_ristretto255_scalar_random(scalar_.data());
  } while (crypto_scalarmult_ristretto255(share_.data(), scalar_.data(), generator.data()) != 0);
}

Cpace::Cpace(CpaceRole role, CpaceInput input, const Scalar& scalar)
    : role_(role), input_(std::move(input)), scalar_(scalar) {
  const Share generator = Generator(input_);
  CHECK_EQ(crypto_scalarmult_ristretto255(share_.data(), scalar_.data(), generator.data()), 0);
}

Cpace::~Cpace() {
  Wipe(input_.code);
  sodium_memzero(scalar_.data(), scalar_.size());
  if (key_) sodium_memzero(key_->data(), key_->size());
}

bool Cpace::Take(std::span<const uint8_t> peer_share) {
  CHECK(!key_);
  if (peer_share.size() != kShareBytes || std::ranges::equal(peer_share, share_)) return false;
  std::ranges::copy(peer_share, peer_share_.begin());
  // Fails for what is no point, and where the product is the neutral element.
  Share point;
  if (crypto_scalarmult_ristretto255(point.data(), scalar_.data(), peer_share_.data()) != 0)
    return false;
  const std::string own = WithLength(AsText(share_)) + WithLength(input_.own_data);
  const std::string peer = WithLength(AsText(peer_share_)) + WithLength(input_.peer_data);
  std::string text = WithLength(kKeyLabel) + WithLength(input_.session) + WithLength(AsText(point));
  text += role_ == CpaceRole::kInitiator ? own + peer : peer + own;
  key_ = HashOf(text);
  Wipe(text);
  sodium_memzero(point.data(), point.size());
  sodium_memzero(scalar_.data(), scalar_.size());
  return true;
}

const Cpace::Key& Cpace::key() const {
  CHECK(key_.has_value());
  return *key_;
}

Cpace::Tag Cpace::TagOver(std::span<const uint8_t> share, std::string_view data) const {
  std::string text = std::string(kTagLabel) + input_.session;
  text += AsText(key());
  Key tag_key = HashOf(text);
  const std::string message = WithLength(AsText(share)) + WithLength(data);
  crypto_auth_hmacsha512_state state;
  crypto_auth_hmacsha512_init(&state, tag_key.data(), tag_key.size());
  crypto_auth_hmacsha512_update(&state, Octets(message), message.size());
  Tag tag;
  crypto_auth_hmacsha512_final(&state, tag.data());
  Wipe(text);
  sodium_memzero(tag_key.data(), tag_key.size());
  return tag;
}

Cpace::Tag Cpace::OwnTag() const {
  return TagOver(share_, input_.own_data);
}

bool Cpace::TagIsValid(std::span<const uint8_t> tag) const {
  const Tag expected = TagOver(peer_share_, input_.peer_data);
  return tag.size() == expected.size() &&
         sodium_memcmp(tag.data(), expected.data(), expected.size()) == 0;
}

std::array<uint8_t, 32> Cpace::Derive(std::string_view label) const {
  crypto_auth_hmacsha512_state state;
  crypto_auth_hmacsha512_init(&state, key().data(), key().size());
  crypto_auth_hmacsha512_update(&state, Octets(label), label.size());
  Tag whole;
  crypto_auth_hmacsha512_final(&state, whole.data());
  std::array<uint8_t, 32> derived;
  std::copy_n(whole.begin(), derived.size(), derived.begin());
  sodium_memzero(whole.data(), whole.size());
  return derived;
}

}  // namespace exo::net

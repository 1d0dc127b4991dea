// Compressed bodies: what clients send is read, and what is damaged or a bomb costs nothing.
#include "service/http/content_coding.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "service/harness.h"

namespace exo::service {
namespace {

const std::string kHi = R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})";
constexpr size_t kLimit = 1 << 20;
// zlib's window bits say what stands around the data.
constexpr int kGzipBits = 15 + 16, kZlibBits = 15, kRawBits = -15;

std::string Deflated(std::string_view text, int window_bits) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
std::string Zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct Sample {
  const char* name;
  Coding coding;
  std::string (*compress)(std::string_view);
};
const Sample kSamples[] = {
    {"gzip", Coding::kGzip, [](std::string_view text) { return Deflated(text, kGzipBits); }},
    {"deflate", Coding::kDeflate, [](std::string_view text) { return Deflated(text, kZlibBits); }},
    {"deflate", Coding::kDeflate, [](std::string_view text) { return Deflated(text, kRawBits); }},
    {"zstd", Coding::kZstd, &Zstd},
};

Parsed<std::string> Read(Coding coding, std::string_view body, size_t budget = 4 * kLimit) {
  BodyLease lease(std::make_shared<BodyBudget>(budget));
  return Decode(coding, body, kLimit, lease);
}

TEST(ContentCodingTest, EveryCodingGivesTheBodyBack) {
  std::string noise(300'000, '\0');
  uint32_t state = 1;
  for (char& c : noise) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  for (const Sample& sample : kSamples) {
    for (const std::string& text : {std::string(), kHi, noise, std::string(kLimit, 'a')})
      EXPECT_EQ(Read(sample.coding, sample.compress(text)), text) << sample.name;
  }
  for (const Sample& sample : {kSamples[0], kSamples[3]})  // members and frames follow each other
    EXPECT_EQ(Read(sample.coding, sample.compress("one ") + sample.compress("two")), "one two");
}

TEST(ContentCodingTest, BombsEndAtTheLimitAndTakeNoMoreMemory) {
  const std::string zeros(8 * kLimit, '\0');
  for (const Sample& sample : kSamples) {
    const std::string bomb = sample.compress(zeros);
    const auto budget = std::make_shared<BodyBudget>(4 * kLimit);
    {
      BodyLease lease(budget);
      const auto read = Decode(sample.coding, bomb, kLimit, lease);
      ASSERT_FALSE(read);
      EXPECT_EQ(read.error().status, 413u) << sample.name;
      EXPECT_LE(budget->used(), kLimit + bomb.size());
    }
    EXPECT_EQ(budget->used(), 0u);
    EXPECT_EQ(Read(sample.coding, bomb, bomb.size() + 1000).error().status, 503u);
  }
}

TEST(ContentCodingTest, DamagedBodiesAre400) {
  for (const Sample& sample : kSamples) {
    const std::string whole = sample.compress(kHi);
    for (size_t length = 0; length < whole.size(); ++length)
      EXPECT_EQ(Read(sample.coding, whole.substr(0, length)).error().status, 400u) << length;
    EXPECT_EQ(Read(sample.coding, whole + "tail").error().status, 400u) << sample.name;
    EXPECT_EQ(Read(sample.coding, kHi).error().status, 400u) << sample.name;
  }
  std::string flipped = Deflated(kHi, kGzipBits);
  flipped[flipped.size() - 6] ^= 1;  // of its checksum
  EXPECT_EQ(Read(Coding::kGzip, flipped).error().code, "invalid_encoding");
}

TEST(ContentCodingTest, AWindowBeyondTheRuleIsRefused) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
  // Of unknown size, so that the frame tells the whole window.
  std::string out(1 << 16, '\0');
  ZSTD_outBuffer to{.dst = out.data(), .size = out.size(), .pos = 0};
  ZSTD_inBuffer in{.src = kHi.data(), .size = kHi.size(), .pos = 0};
  ZSTD_compressStream2(context, &to, &in, ZSTD_e_flush);
  ZSTD_compressStream2(context, &to, &in, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  const auto read = Read(Coding::kZstd, std::string_view(out).substr(0, to.pos));
  EXPECT_EQ(read.error().status, 400u);
  EXPECT_NE(read.error().message.find("8 MiB"), std::string::npos) << read.error().message;
}

TEST(ContentCodingTest, RequestsAreReadInEveryCoding) {
  HttpOptions options;
  options.limits.body_bytes = 4096;
  TestServer server(options);
  const auto post = [&](const std::string& body, const std::string& coding) {
    return Call(server, "POST", kChat, body,
                "Content-Type: application/json\r\nContent-Encoding: " + coding + "\r\n");
  };
  for (const Sample& sample : kSamples) {
    EXPECT_EQ(post(sample.compress(kHi), sample.name).status, 200) << sample.name;
    EXPECT_EQ(server.last_request().messages.at(0).content, "Hi");
    EXPECT_EQ(post(kHi, sample.name).error("code"), "invalid_encoding") << sample.name;
    EXPECT_EQ(post(sample.compress(std::string(5000, ' ')), sample.name).status, 413);
    EXPECT_EQ(post("", sample.name).error("code"), "invalid_encoding");
  }
  EXPECT_EQ(post(kSamples[0].compress(kHi), " X-GZIP ").status, 200);
  EXPECT_EQ(post(kSamples[0].compress(kHi), "identity, gzip").status, 200);
  EXPECT_EQ(post(kSamples[0].compress(kHi), "gzip\r\nContent-Encoding: identity").status, 200);
  for (const char* coding : {"identity", "Identity ", ""}) {
    EXPECT_EQ(post(kHi, coding).status, 200) << coding;
  }
  for (const char* coding : {"br", "gzip, zstd", "gzip\r\nContent-Encoding: zstd"}) {
    const auto answer = post("x", coding);
    EXPECT_EQ(answer.status, 415) << coding;
    EXPECT_TRUE(answer.has("accept-encoding: gzip, deflate, zstd")) << answer.headers;
    EXPECT_NE(answer.error("message").find("zstd"), std::string::npos) << answer.body;
  }
  EXPECT_TRUE(WaitUntil([&] { return server.body_bytes() == 0; }));
}

// One field with a list and several fields say the same (RFC 9110, 5.3).
TEST(ContentCodingTest, SeveralCodingsAreToldAsTheyWereNamed) {
  const std::string two = CodingOf({"x-gzip", "ZSTD"}).error().message;
  EXPECT_NE(two.find("names 2 codings, the first two 'x-gzip' and 'zstd'"), std::string::npos)
      << two;
  EXPECT_EQ(CodingOf({"x-gzip, ZSTD"}).error().message, two);
  EXPECT_NE(CodingOf({"gzip,gzip", "gzip"}).error().message.find("3 codings"), std::string::npos);
  const auto unknown = CodingOf({"gzip", "br"}).error();
  EXPECT_EQ(unknown.status, 415u);
  EXPECT_NE(unknown.message.find("is 'br'"), std::string::npos) << unknown.message;
  EXPECT_EQ(CodingOf({"", " , identity", "deflate"}), Coding::kDeflate);
}

}  // namespace
}  // namespace exo::service

#include "service/http/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "service/http/connection.h"
#include "service/http/router.h"

namespace exo::service {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using SystemError = boost::system::error_code;

// After "too many open files" and the like: try again when some connection may have ended.
constexpr std::chrono::milliseconds kAcceptRetry{100};
// With port 0 the port found on IPv4 may be taken on IPv6.
constexpr int kPortAttempts = 8;

Result<tcp::acceptor> Listen(asio::io_context& context, const tcp::endpoint& endpoint) {
  tcp::acceptor acceptor(context);
  SystemError error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && endpoint.protocol() == tcp::v6())
    acceptor.set_option(asio::ip::v6_only(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return acceptor;
  if (error == asio::error::address_in_use && !endpoint.address().is_loopback()) {
    return Fail(ErrorCode::kIo,
                "port {} of the address {} is taken; choose another one with --listen ADDRESS:PORT",
                endpoint.port(), endpoint.address().to_string());
  }
  if (error == asio::error::address_in_use) {
    return Fail(
        ErrorCode::kIo,
        "the API port {} of this machine is taken, perhaps by another exo; end that program "
        "or choose another port with --api-port (0: any free one)",
        endpoint.port());
  }
  const bool absent = error == asio::error::address_family_not_supported ||
                      error == boost::system::errc::address_not_available;
  return Fail(absent ? ErrorCode::kUnsupported : ErrorCode::kIo,
              "cannot listen on port {} of {}: {}", endpoint.port(), endpoint.address().to_string(),
              error.message());
}

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& c, HttpOptions o)
      : context(c), options(std::move(o)), router(worker, options) {}

  Result<void> Open();
  Result<void> OpenAddress();
  void Accept(size_t index);
  void OnAccepted(tcp::socket socket);
  void RetryLater(size_t index, const SystemError& why);

  asio::io_context& context;
  const HttpOptions options;
  uint16_t port = 0;
  HttpStats stats{.bodies = std::make_shared<BodyBudget>(options.limits.body_budget)};
  Worker worker{context};
  DialectRouter router;
  std::vector<tcp::acceptor> acceptors;
  std::vector<std::unique_ptr<asio::steady_timer>> retries;
  std::unordered_map<Connection*, std::weak_ptr<Connection>> open;
  bool waiting = false;  // connections come that cannot be taken; said once until one is
};

HttpServer::HttpServer(asio::io_context& context, HttpOptions options)
    : impl_(std::make_shared<Impl>(context, std::move(options))) {}
HttpServer::~HttpServer() {
  Stop();
}

// One address, by TLS.
Result<void> HttpServer::Impl::OpenAddress() {
  SystemError error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error) return Fail(ErrorCode::kInvalid, "'{}' is no numeric address", options.address);
  acceptors.push_back(TRY(Listen(context, {address, options.port})));
  port = acceptors[0].local_endpoint().port();
  return {};
}

Result<void> HttpServer::Impl::Open() {
  CHECK((options.tls != nullptr) == !options.address.empty());  // nothing plain leaves the machine
  if (options.tls != nullptr) return OpenAddress();
  Result<void> last;
  for (int attempt = 0; attempt < (options.port == 0 ? kPortAttempts : 1); ++attempt) {
    acceptors.clear();
    acceptors.push_back(TRY(Listen(context, {asio::ip::address_v4::loopback(), options.port})));
    port = acceptors[0].local_endpoint().port();
    if (!options.ipv6) return {};
    auto v6 = Listen(context, {asio::ip::address_v6::loopback(), port});
    if (v6) {
      acceptors.push_back(*std::move(v6));
      return {};
    }
    if (v6.error().code == ErrorCode::kUnsupported) return {};
    last = std::unexpected(v6.error());
  }
  acceptors.clear();
  return last;
}

void HttpServer::Add(Dialect dialect) {
  impl_->router.Add(std::move(dialect));
}

Result<void> HttpServer::Start() {
  TRY(impl_->Open());
  impl_->router.SetPort(impl_->port);
  for (size_t i = 0; i < impl_->acceptors.size(); ++i) {
    impl_->retries.push_back(std::make_unique<asio::steady_timer>(impl_->context));
    impl_->Accept(i);
  }
  return {};
}

void HttpServer::Stop() {
  impl_->acceptors.clear();  // pending accepts end with operation_aborted
  impl_->retries.clear();
  impl_->worker.Stop();  // its work uses the routes
  const auto open = std::move(impl_->open);
  impl_->open.clear();
  for (const auto& [key, weak] : open) {
    if (const auto connection = weak.lock()) connection->Abort();
  }
}

void HttpServer::Impl::Accept(size_t index) {
  // A completed accept may be delivered after Stop, even after the server is gone.
  acceptors[index].async_accept(
      [weak = weak_from_this(), index](const SystemError& error, tcp::socket socket) {
        const auto self = weak.lock();
        if (!self || index >= self->acceptors.size()) return;
        if (error) return self->RetryLater(index, error);
        self->OnAccepted(std::move(socket));
        self->Accept(index);
      });
}

void HttpServer::Impl::RetryLater(size_t index, const SystemError& why) {
  if (!std::exchange(waiting, true))
    LOG(kWarning, "HTTP connections wait, none can be taken: {}", why.message());
  retries[index]->expires_after(kAcceptRetry);
  retries[index]->async_wait([weak = weak_from_this(), index](const SystemError& error) {
    const auto self = weak.lock();
    if (!error && self && index < self->acceptors.size()) self->Accept(index);
  });
}

void HttpServer::Impl::OnAccepted(tcp::socket socket) {
  waiting = false;
  if (open.size() >= options.limits.connections) {
    LOG(kWarning, "more than {} HTTP connections: one refused", options.limits.connections);
    if (options.tls != nullptr) return;  // no word without a handshake
    SystemError ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(
        asio::buffer(std::string_view("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                                      "Connection: close\r\nContent-Length: 0\r\n\r\n")),
        ignored);
    return;
  }
  auto connection = std::make_shared<Connection>(
      std::move(socket), ConnectionHost{router, options.limits, stats, options.tls},
      [this](Connection* closed) {
        open.erase(closed);
        stats.connections = open.size();
      });
  open.emplace(connection.get(), connection);
  stats.connections = open.size();
  connection->Start();
}

uint16_t HttpServer::port() const {
  return impl_->port;
}
const HttpStats& HttpServer::stats() const {
  return impl_->stats;
}

}  // namespace exo::service

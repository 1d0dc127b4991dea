// The one translation unit that compiles Asio itself (BOOST_ASIO_SEPARATE_COMPILATION). Asio's own
// TLS is not used: net/tls.h works on the descriptor, so that a connection can change threads after
// its handshake.
#include <boost/asio/impl/src.hpp>

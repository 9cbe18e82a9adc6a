#pragma once
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

// OpenSSL offers these as macros only, which Swift does not see.

static inline int tapline_SSL_CTX_set_defaults(SSL_CTX *context) {
  // A client that vanishes without a farewell is an ordinary end of a connection.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}

static inline int tapline_X509_NAME_print_rfc2253(BIO *target, const X509_NAME *name) {
  return X509_NAME_print_ex(target, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
}

// Between sites both ends are ours: nothing older than TLS 1.3.
static inline int tapline_SSL_CTX_set_newest_only(SSL_CTX *context) {
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
}

static inline EVP_PKEY *tapline_EVP_new_key(void) { return EVP_EC_gen("P-256"); }

// The handshake ended because the peer does not accept what it was shown.
static inline int tapline_is_rejection(unsigned long error) {
  switch (ERR_GET_REASON(error)) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return ERR_GET_LIB(error) == ERR_LIB_SSL;
    default:
      return 0;
  }
}

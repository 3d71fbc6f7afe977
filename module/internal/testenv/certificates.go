package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Certificates are the paths of the PEM files for the clients of a TLS server. They
// are valid for a day.
type Certificates struct {
	CA                    string // the authority that issued all of them
	ClientCert, ClientKey string

	serverCert, serverKey string
}

// RedisTLS starts a server that accepts only TLS, and only clients with a certificate of its
// authority. Its own certificate is for 127.0.0.1 and localhost.
func RedisTLS(tb testing.TB) (*RedisServer, Certificates) {
	tb.Helper()
	c, secure := newCertificates(tb)
	s := newRedis(tb, func(s *RedisServer, port int) []string {
		s.secure = secure
		s.cli = append(s.cli, "--tls", "--cacert", c.CA, "--cert", c.ClientCert, "--key", c.ClientKey)
		return []string{
			"--port", "0", "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "yes",
			"--tls-ca-cert-file", c.CA, "--tls-cert-file", c.serverCert, "--tls-key-file", c.serverKey,
		}
	})
	return s, c
}

// newCertificates issues certificates for a server and a client. It returns the
// client's files and TLS configuration.
func newCertificates(tb testing.TB) (Certificates, *tls.Config) {
	tb.Helper()
	ca := newAuthority(tb)
	server, client := ca.issue(tb, "server"), ca.issue(tb, "client")
	dir := tb.TempDir()
	c := Certificates{CA: filepath.Join(dir, "ca.pem")}
	writePEM(tb, c.CA, "CERTIFICATE", ca.cert.Raw)
	c.serverCert, c.serverKey = writePair(tb, dir, "server", server)
	c.ClientCert, c.ClientKey = writePair(tb, dir, "client", client)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return c, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}, MinVersion: tls.VersionTLS12}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	template := newTemplate("authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key := newKey(tb)
	return authority{cert: sign(tb, template, template, key, key), key: key}
}

// issue returns a certificate for a server or a client.
func (a authority) issue(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	template := newTemplate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.IPAddresses, template.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	key := newKey(tb)
	cert := sign(tb, template, a.cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func newTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name, OrganizationalUnit: []string{name}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// sign returns a certificate for key, signed by the parent with signer.
func sign(tb testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	tb.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func writePair(tb testing.TB, dir, name string, pair tls.Certificate) (cert, key string) {
	tb.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	writePEM(tb, cert, "CERTIFICATE", pair.Certificate[0])
	writePEM(tb, key, "PRIVATE KEY", raw)
	return cert, key
}

func writePEM(tb testing.TB, path, kind string, raw []byte) {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		tb.Fatal(err)
	}
}

package module

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// TLS secures the connection to a server.
type TLS struct {
	// A file with the certificates of the authorities to trust, in PEM. Default: those of the system.
	CA string `json:"ca,omitempty"`

	// A file with this instance's own certificate, in PEM, for servers that ask for one. It is read for every
	// connection, so that a renewed one is used. Default: none.
	Certificate string `json:"certificate,omitempty"`

	// The file with the key of that certificate, likewise. Required with a certificate.
	Key string `json:"key,omitempty"`

	// The name in the server's certificate. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`
}

// maxPEM is the maximum size of a file with certificates or a key, in bytes.
const maxPEM = 1 << 20

// check reports what is wrong with the settings, as far as it can be judged without the files.
func (t *TLS) check() error {
	if t != nil && (t.Certificate == "") != (t.Key == "") {
		return errors.New("a certificate and its key belong together: give both, or neither")
	}
	return nil
}

// authorities reads the file of those to trust. It returns nil for those of the system.
func (t *TLS) authorities() ([]byte, error) {
	if t == nil || t.CA == "" {
		return nil, nil
	}
	text, err := regularfile.Read(t.CA, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities to trust: %w", err)
	}
	return text, nil
}

// config reads the files. It returns nil for a connection without TLS.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		text, err := t.authorities()
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", t.CA)
		}
	}
	if t.Certificate != "" {
		load := func() (*tls.Certificate, error) {
			certificate, err := regularfile.Read(t.Certificate, maxPEM)
			if err != nil {
				return nil, err
			}
			key, err := regularfile.Read(t.Key, maxPEM)
			if err != nil {
				return nil, err
			}
			pair, err := tls.X509KeyPair(certificate, key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("reading the certificate %s and its key: %w", t.Certificate, err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

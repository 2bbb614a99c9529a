package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/oatmill/oatmill/examples/internal/site"
)

// devTTL is how long a self-made certificate is good, and renewBefore how long before
// its end a start makes a new one.
const (
	devTTL      = 90 * 24 * time.Hour
	renewBefore = 7 * 24 * time.Hour
)

// The files of a certificate of its own making.
const (
	devCertName = "dev-cert.pem"
	devKeyName  = "dev-key.pem"
)

// givenCertificate returns a configuration with the certificate that the flags name, nil
// where they name none.
func (p *program) givenCertificate(options serveOptions) (*tls.Config, error) {
	if options.tlsCert == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(options.tlsCert, options.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", options.tlsCert, options.tlsKey, err)
	}
	if leaf := certificate.Leaf; p.now().After(leaf.NotAfter) || p.now().Before(leaf.NotBefore) {
		return nil, fmt.Errorf("certificate %s is good from %s to %s, and not now", options.tlsCert,
			leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))
	}
	return configWith(certificate), nil
}

// ownCertificate returns a configuration with the certificate in the data folder.
func (p *program) ownCertificate(options serveOptions) (*tls.Config, error) {
	certificate, err := p.devCertificate(devHosts(options))
	if err != nil {
		return nil, err
	}
	p.say("console: the certificate %s is self-made, and browsers warn of it; its SHA-256 is %X",
		p.folder().File(devCertName), sha256.Sum256(certificate.Certificate[0]))
	return configWith(certificate), nil
}

// configWith leaves versions and ciphers to Go, whose choices are kept up to date.
func configWith(certificate tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
}

// devHosts are the names that a self-made certificate is for.
func devHosts(options serveOptions) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(options.addr); err == nil {
		hosts = append(hosts, host)
	}
	if at, err := url.Parse(options.url); err == nil {
		hosts = append(hosts, at.Hostname())
	}
	slices.Sort(hosts)
	return slices.DeleteFunc(slices.Compact(hosts), func(host string) bool { return host == "" })
}

// devCertificate is the self-made certificate in the data folder, made anew when there is
// none or when it will not do.
func (p *program) devCertificate(hosts []string) (tls.Certificate, error) {
	certFile, keyFile := p.folder().File(devCertName), p.folder().File(devKeyName)
	kept, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && p.now().Add(renewBefore).Before(kept.Leaf.NotAfter) && covers(kept.Leaf, hosts) {
		return kept, nil
	}
	certificate, key, err := selfSigned(hosts, p.now())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	// A process killed between the two leaves files that do not fit, and the next start makes
	// new ones.
	if err = site.WriteFile(keyFile, key); err == nil {
		err = site.WriteFile(certFile, certificate)
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.X509KeyPair(certificate, key)
}

func covers(leaf *x509.Certificate, hosts []string) bool {
	return !slices.ContainsFunc(hosts, func(host string) bool { return leaf.VerifyHostname(host) != nil })
}

// selfSigned is a certificate and its key, in PEM. It can certify nothing but itself, so
// whoever trusts it trusts this server alone.
func selfSigned(hosts []string, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "oatmill development"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(devTTL),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), err
}

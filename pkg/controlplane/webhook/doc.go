// Package webhook lets the API server call the injectors: it writes the trust bundle into their
// MutatingWebhookConfiguration and reconciles the Secret with their serving certificate.
//
// It runs on the leader, so that injectors need neither a root nor any right to write. It changes only
// caBundle of the configuration; the chart's admission policy refuses anything else. Its invariant: the
// bundle is written before a certificate that needs it, so that the API server trusts every
// certificate that an injector serves.
package webhook

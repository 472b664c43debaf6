// Package webhook keeps the API server able to call the injectors: it writes the trust bundle into
// their MutatingWebhookConfiguration and has their serving certificate kept in a Secret.
//
// It runs on the controller that holds the Lease, so that injectors need neither a root nor the right
// to write anything. It changes nothing of the configuration but caBundle; the chart's admission
// policy refuses the rest. Its invariant: the bundle is written before a certificate that needs it,
// so that whatever an injector serves is trusted.
package webhook

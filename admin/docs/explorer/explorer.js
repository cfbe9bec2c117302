// The explorer talks to this server alone: no validator, no address taken from the query, no key kept in the browser.
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#explorer",
  validatorUrl: null,
  queryConfigEnabled: false,
  persistAuthorization: false,
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});

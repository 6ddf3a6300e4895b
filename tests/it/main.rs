mod fhir;

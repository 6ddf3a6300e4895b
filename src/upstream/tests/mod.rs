//! The client against a stub that plays the provider, breaks one thing at a time, and remembers what it saw.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod login;
#[cfg(test)]
mod logout;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tokens;

//! The program as a pod runs it: against real files, locks, repositories and servers.

#[cfg(test)]
mod bundle;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod git;
#[cfg(test)]
mod image;
#[cfg(test)]
mod pod;
#[cfg(test)]
mod tar;
#[cfg(test)]
mod waiter;
